//! The reference: single-row inserts by `pgbench -M prepared`.

use anyhow::Context as _;

use crate::workbench::Workbench;

/// A row like the one that registering an LP leaves, in a table like `events`. Everything that an application would
/// send is sent, so that Postgres has the same text to read.
const SCRIPT: &str = r"\set n :n + 1
\set id :client_id * 1000000000 + :n
insert into public.bench_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
    event_id, command_id, correlation_id, actor)
values (:kind, :id, 1, :type, :version, :payload, :metadata, gen_random_uuid(), gen_random_uuid(),
    gen_random_uuid(), :actor);
";

/// A stored event, column by column.
type Row = (String, String, String, String, String, String);

/// What `pgbench` inserts.
pub struct Inserts {
    row: Row,
    script: std::path::PathBuf,
}

impl Inserts {
    /// Takes the last event in the log as the model.
    pub async fn like_last_event(bench: &Workbench) -> anyhow::Result<Self> {
        let pool = &bench.database.pool;
        let row: Row = sqlx::query_as(
            "select aggregate_type, event_type, event_version, payload::text, metadata::text, actor
             from events order by position desc limit 1",
        )
        .fetch_one(pool)
        .await?;
        sqlx::query("create table public.bench_events (like events including all)")
            .execute(pool)
            .await?;
        let script = bench.folder.path().join("insert.sql");
        std::fs::write(&script, SCRIPT)?;
        Ok(Self { row, script })
    }

    /// The bytes of text in a row.
    pub fn size(&self) -> usize {
        let (kind, name, version, payload, metadata, actor) = &self.row;
        [kind, name, version, payload, metadata, actor].iter().map(|text| text.len()).sum()
    }

    /// Inserts with this many clients for this many seconds. Tells the inserts per second.
    pub async fn run(&self, bench: &Workbench, clients: u32, seconds: u64) -> anyhow::Result<f64> {
        sqlx::query("truncate public.bench_events").execute(&bench.database.pool).await?;
        let (kind, name, version, payload, metadata, actor) = &self.row;
        let mut command = bench.program("pgbench")?;
        command.args(["--no-vacuum", "--protocol=prepared", "--define=n=0"]);
        for (variable, value) in [
            ("kind", kind),
            ("type", name),
            ("version", version),
            ("payload", payload),
            ("metadata", metadata),
            ("actor", actor),
        ] {
            command.arg(format!("--define={variable}={value}"));
        }
        command.arg(format!("--client={clients}")).arg(format!("--jobs={}", clients.min(2)));
        command.arg(format!("--time={seconds}")).arg(format!("--file={}", self.script.display()));
        let output = command.output().await?;
        let text = String::from_utf8_lossy(&output.stdout);
        let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
        rate.with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?
            .parse()
            .context("pgbench's rate is no number")
    }
}
