//! What the hash chain over the log costs those who append: the same appends without a sealer and with one, in turns.

use std::time::{Duration, Instant};

use projections::log::EventLog;
use projections::seal::{SealKey, Sealer, Trust};

use crate::commands::{Way, rate_of};
use crate::table::{Table, Target, median};
use crate::workbench::Workbench;

/// How often each is measured; the order changes from round to round.
const ROUNDS: usize = 9;

/// Long enough for the sealer, which looks every second, to do most of its work meanwhile.
const LENGTH: Duration = Duration::from_secs(5);

const CLIENTS: [u32; 3] = [1, 16, 256];

pub async fn run() -> anyhow::Result<()> {
    let bench = Workbench::open().await?;
    let mut table = Table::new("appends per second with a sealer");
    for clients in CLIENTS {
        let (mut plain, mut sealed, mut ratios) = (vec![], vec![], vec![]);
        for round in 0..=ROUNDS {
            let mut rates = [0.0; 2];
            let order = if round % 2 == 0 { [false, true] } else { [true, false] };
            for is_sealed in order {
                rates[usize::from(is_sealed)] = measure(&bench, clients, is_sealed).await?;
            }
            // The first warms up.
            if round > 0 {
                plain.push(rates[0]);
                sealed.push(rates[1]);
                ratios.push(rates[1] / rates[0]);
            }
        }
        let figures = [sealed, plain].map(|rates| format!("{:.0}", median(&rates)));
        let [sealed, plain] = figures;
        let target = Target::AtLeast(0.97);
        table.row(&format!("append, {clients}"), sealed, plain, median(&ratios), target);
    }
    table.note(format!(
        "By number of clients. Reference: the same without a sealer. Medians of {ROUNDS} measurements of {} s in \
         turns, the sealer's last batch included; no read model follows.",
        LENGTH.as_secs()
    ));
    table.print();
    bench.close().await
}

async fn measure(bench: &Workbench, clients: u32, is_sealed: bool) -> anyhow::Result<f64> {
    bench.forget(&[]).await?;
    let database = bench.connect();
    let sealer = match is_sealed {
        true => {
            let key = SealKey::open(&bench.folder.path().join("keys"))?;
            Some(Sealer::start(database.clone(), key, Trust::default()))
        }
        false => None,
    };
    let start = Instant::now();
    rate_of(Way::Append, clients, &EventLog::start(database.clone()), LENGTH).await?;
    if let Some(sealer) = sealer {
        sealer.stop().await;
    }
    let took = start.elapsed();
    let events: i64 =
        sqlx::query_scalar("select count(*) from events").fetch_one(&database.pool).await?;
    database.pool.close().await;
    #[allow(clippy::cast_precision_loss, reason = "counts of some hundred thousands")]
    Ok(events as f64 / took.as_secs_f64())
}
