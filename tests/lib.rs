//! What the integration tests, which live in `it/`, and the benchmarks in `bench/` have in common.

use std::io;

/// Events of each record of a log that a benchmark generates: it is registered, and changed nine times.
pub const EVENTS_EACH: i64 = 10;

/// The statement that adds one event to each of many LPs, from the first id, `$1`, to the last, `$2`: the one of this
/// sequence, which is also `$3`. Sent for one sequence after the other, changes come long after, as when a team makes them.
pub fn generate(sequence: i64) -> String {
    let (name, payload) = match sequence {
        1 => (
            "Registered",
            "'{\"Registered\":{\"name\":\"LP ' || id || '\",\"details\":{\"location\":\"Ciudad de México\",\
             \"advisor\":\"Stratum\",\"type_of_group\":\"Pension fund\",\"investment_low\":25.0}}}'",
        ),
        _ => ("Prioritised", "'{\"Prioritised\":{\"priority\":\"' || $3 || '\"}}'"),
    };
    format!(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             command_id, correlation_id, actor)
         select 'lp', id::text, $3, '{name}', '1', ({payload})::json,
                '{{\"command\":\"Revise\",\"source\":\"api\",\"client\":\"127.0.0.1\"}}',
                gen_random_uuid(), gen_random_uuid(), 'anonymous'
         from generate_series($1, $2) as id"
    )
}

/// A size of a process in memory, in MB: `VmRSS` now, `VmHWM` at most.
///
/// # Errors
/// When there is no such process.
pub fn memory(pid: u32, which: &str) -> io::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(which)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kilobytes.ok_or_else(|| io::Error::other("it says nothing about memory"))? / 1024.0)
}
