//! `crm seal check`: is the log of today the one that a kept checkpoint was made of, and more? By signatures and hashes alone.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use axum::http::Uri;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use projections::seal::{Chain, Checkpoint, Link, PublicKey};
use serde::Deserialize;

use super::{last_note, read};
use crate::commands::say;

#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The file with the checkpoint: a signed note, an export, of which the last line counts, or what `/seals/latest` answered
    #[arg(value_name = "CHECKPOINT")]
    checkpoint: PathBuf,
    /// The public key that signed it, as `crm seal status` printed it; may be repeated, where keys have changed
    #[arg(long, value_name = "KEY", required = true)]
    key: Vec<PublicKey>,
    /// The log of today: the address of a server, or a file of `crm seal export` that covers the checkpoint and what follows
    #[arg(long, value_name = "URL|FILE")]
    against: Option<String>,
}

/// Checks, and says what holds.
///
/// # Errors
/// When something does not hold, or cannot be read.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let note = last_note(&read(&args.checkpoint)?)?;
    let (old, key) = note.open(&args.key)?;
    say(&format!("The checkpoint is signed by {key}: {}", describe(old)));
    let Some(against) = &args.against else { return Ok(()) };
    let mut audit = Audit::begin(old, &args.key);
    if against.starts_with("http://") || against.starts_with("https://") {
        let client = Http::new()?;
        let mut after = old.number - 1;
        loop {
            let page = client.seals(against, after).await?;
            page.seals.iter().try_for_each(|link| audit.take(link))?;
            match page.next {
                Some(next) => {
                    ensure!(next > after, "{against} answers the same page again");
                    after = next;
                }
                None => break,
            }
        }
    } else {
        for line in read(&PathBuf::from(against))?.lines() {
            let link = serde_json::from_str(line)
                .with_context(|| format!("{against} is no file of `crm seal export`"))?;
            audit.take(&link)?;
        }
    }
    let strange = audit.strange();
    let (new, key) = audit.finish()?;
    say(&format!("The log continues it, signed by {key}: {}", describe(&new)));
    strange.iter().for_each(|told| say(told));
    Ok(())
}

fn describe(checkpoint: &Checkpoint) -> String {
    let Checkpoint { origin, total, number, position, sealed_at, .. } = checkpoint;
    let at = sealed_at.format("%Y-%m-%d %H:%M:%S UTC");
    format!("{origin} had {total} events up to position {position} at {at} (seal {number})")
}

/// Follows the chain from the checkpoint on.
pub(super) struct Audit<'k> {
    old: &'k Checkpoint,
    keys: &'k [PublicKey],
    chain: Chain,
    /// Whether the log's own seal of that number was there and is the same.
    is_met: bool,
    /// The last seal that one of the keys signed.
    signed: Option<(Checkpoint, &'k PublicKey)>,
    /// The first seal that none of the keys signed, and how many there are.
    unknown: Option<(i64, u64)>,
    /// The last seal of all.
    last: i64,
    /// The latest time that a seal from the checkpoint on has.
    latest: DateTime<Utc>,
}

/// How much the clocks of servers may differ that seal in turn.
const SKEW: TimeDelta = TimeDelta::minutes(1);

impl<'k> Audit<'k> {
    pub(super) fn begin(old: &'k Checkpoint, keys: &'k [PublicKey]) -> Self {
        Self {
            old,
            keys,
            chain: Chain::at(old),
            is_met: false,
            signed: None,
            unknown: None,
            last: 0,
            latest: old.sealed_at,
        }
    }

    pub(super) fn take(&mut self, link: &Link) -> anyhow::Result<()> {
        let note = link.note()?;
        let checkpoint = note.unchecked();
        ensure!(
            checkpoint.origin == self.old.origin,
            "this is another log: {}, and the checkpoint is of {}",
            checkpoint.origin,
            self.old.origin
        );
        if link.number < self.old.number {
            ensure!(
                checkpoint.sealed_at <= self.old.sealed_at + SKEW,
                "seal {}, which the checkpoint follows on, has a later time than the checkpoint: its time was CHANGED, or the \
                 clock was put back",
                link.number
            );
            return Ok(());
        }
        if link.number == self.old.number {
            ensure!(
                Chain::at(checkpoint) == self.chain,
                "the log was REWRITTEN at position {} or before it: its seal {} is another",
                self.old.position,
                link.number
            );
            ensure!(
                checkpoint.sealed_at == self.old.sealed_at,
                "the time of seal {} was CHANGED since the checkpoint was made of it",
                link.number
            );
            self.is_met = true;
        } else {
            let batch = hex::decode(&link.batch).ok().and_then(|bytes| bytes.try_into().ok());
            let batch = batch.context("a seal without a digest of its batch")?;
            self.chain.follow(&link.header(), &batch, checkpoint).with_context(|| {
                format!(
                    "the log does NOT continue the checkpoint, from position {} on",
                    link.after + 1
                )
            })?;
        }
        ensure!(
            checkpoint.sealed_at >= self.latest - SKEW,
            "seal {} has an earlier time than the one before it: its time was CHANGED, or the clock was put back",
            link.number
        );
        self.latest = self.latest.max(checkpoint.sealed_at);
        self.last = link.number;
        match note.open(self.keys) {
            Ok((checkpoint, key)) => self.signed = Some((checkpoint.clone(), key)),
            Err(_) if note.names(self.keys) => bail!(
                "seal {} was CHANGED since it was signed, perhaps its time: the signature is not that of its text",
                link.number
            ),
            Err(_) => self.unknown.get_or_insert((link.number, 0)).1 += 1,
        }
        Ok(())
    }

    /// What is to be known of seals that none of the keys signed.
    pub(super) fn strange(&self) -> Option<String> {
        let (first, count) = self.unknown?;
        let seals = match count {
            1 => format!("1 seal, number {first}, is"),
            _ => format!("{count} seals, the first of them number {first}, are"),
        };
        Some(format!(
            "But {seals} signed by none of the given keys. That they follow on from the checkpoint is certain, who made them, and \
             when, is not: if the key has changed, name the other one with another --key"
        ))
    }

    pub(super) fn finish(self) -> anyhow::Result<(Checkpoint, &'k PublicKey)> {
        if !self.is_met {
            bail!(
                "the log has no seal {}: it was CUT OFF before position {}, or what was read does not cover it",
                self.old.number,
                self.old.position
            );
        }
        match self.signed {
            Some((checkpoint, key)) if checkpoint.number == self.last => Ok((checkpoint, key)),
            _ => bail!(
                "the last seals, up to number {}, are signed by none of the given keys; if the key has changed, name the \
                 new one with another --key",
                self.last
            ),
        }
    }
}

/// What `GET /seals` answers.
#[derive(Deserialize)]
struct Page {
    seals: Vec<Link>,
    next: Option<i64>,
}

struct Http(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl Http {
    /// How long a server may take for a page.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// More than any page takes, in bytes.
    const LONGEST: usize = 16 << 20;

    fn new() -> anyhow::Result<Self> {
        // Named, since rustls refuses to choose as soon as some dependency brings a second one.
        let cryptography = rustls::crypto::ring::default_provider();
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(cryptography)?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    async fn seals(&self, server: &str, after: i64) -> anyhow::Result<Page> {
        let server = server.trim_end_matches('/');
        let address: Uri = format!("{server}/seals?after={after}").parse()?;
        let asking = async {
            let answer = self.0.get(address).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), Self::LONGEST).collect().await;
            let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
            ensure!(status.is_success(), "it answers {status}");
            Ok(serde_json::from_slice(&body)?)
        };
        tokio::time::timeout(Self::PATIENCE, asking)
            .await
            .unwrap_or_else(|_| bail!("no answer within {} s", Self::PATIENCE.as_secs()))
            .with_context(|| format!("{server} does not tell its seals"))
    }
}

#[cfg(test)]
mod tests {
    use projections::seal::{Seal, SealKey, digest};
    use uuid::Uuid;

    use super::*;

    const LOG: Uuid = Uuid::from_u128(0x6372_6d00_0000_4000_8000_0000_0000_0001);

    fn key(text: &str) -> SealKey {
        text.parse().unwrap()
    }

    /// A chain with seals at these seconds, signed by a key that is known (`true`) or by another.
    fn chain(seals: &[(i64, bool)]) -> (Vec<Link>, [PublicKey; 1]) {
        let known = key("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=");
        let other = key("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        let mut head = digest::of_log(LOG);
        let mut links = Vec::new();
        for (number, (second, is_known)) in (1..).zip(seals) {
            let key = if *is_known { &known } else { &other };
            let mut seal = Seal {
                number,
                after: number - 1,
                position: number,
                events: 1,
                total: number,
                batch: [1; 32],
                head,
                sealed_at: DateTime::from_timestamp(*second, 0).unwrap(),
                key: key.public(),
                signature: [0; 64],
            };
            seal.head = digest::of_head(&head, &seal.header(), &seal.batch);
            seal.signature = key.sign(&seal.checkpoint(LOG).to_string());
            links.push(Link::of(LOG, &seal, Some(&head)));
            head = seal.head;
        }
        (links, [PublicKey::of(LOG, known.public())])
    }

    /// What is said of a log against a checkpoint that was kept of its second seal.
    fn said(links: &[Link], kept: &Link, keys: &[PublicKey]) -> String {
        let note = kept.note().unwrap();
        let mut audit = Audit::begin(note.open(keys).unwrap().0, keys);
        let taken = links.iter().try_for_each(|link| audit.take(link));
        let strange = audit.strange();
        match taken.and_then(|()| audit.finish()) {
            Ok(_) => strange.unwrap_or_else(|| "well".to_owned()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_times_of_seals_go_on_from_the_checkpoint_to_the_head() {
        let check = |seals: &[(i64, bool)], expected: &str| {
            let (links, keys) = chain(seals);
            let said = said(&links, &links[1], &keys);
            assert!(said.contains(expected), "{seals:?}: {said}");
        };
        let (mine, another) = (true, false);
        check(
            &[(1_000, mine), (2_000, mine), (3_000, another), (4_000, mine)],
            "But 1 seal, number 3,",
        );
        // The clocks of two servers.
        check(&[(1_000, mine), (2_000, mine), (1_950, mine), (1_960, mine)], "well");
        check(
            &[(1_000, mine), (2_000, mine), (1_900, another), (4_000, mine)],
            "seal 3 has an earlier time",
        );
        check(
            &[(1_000, mine), (2_000, mine), (5_000, another), (4_000, mine)],
            "seal 4 has an earlier time",
        );
        check(
            &[(9_000, mine), (2_000, mine), (3_000, mine)],
            "has a later time than the checkpoint",
        );
    }

    #[test]
    fn seals_that_none_of_the_keys_signed_are_counted() {
        let check = |seals: &[bool], expected: &str| {
            let seals: Vec<_> = (1..).map(|at| at * 1_000).zip(seals.iter().copied()).collect();
            let (links, keys) = chain(&seals);
            let said = said(&links, &links[1], &keys);
            assert!(said.contains(expected), "{seals:?}: {said}");
        };
        check(&[true, true, true], "well");
        // What was there before the checkpoint is not looked at.
        check(&[false, true, true], "well");
        check(&[true, true, false, true], "1 seal, number 3, is signed by none of the given keys");
        check(&[true, true, false, true, false, true], "2 seals, the first of them number 3, are");
        check(&[true, true, true, false], "the last seals, up to number 4, are signed by none");
        // Whoever changes the name of a signer keeps its signature from being looked at.
        let (mut links, keys) =
            chain(&[(1_000, true), (2_000, true), (3_000, true), (4_000, true)]);
        let genuine = links[2].checkpoint.clone();
        links[2].checkpoint = genuine.replace("— crm/", "— other/");
        assert_ne!(links[2].checkpoint, genuine);
        let said = said(&links, &links[1], &keys);
        assert!(said.contains("1 seal, number 3, is signed by none"), "{said}");
    }

    #[test]
    fn a_time_that_was_changed_is_noticed_by_the_signature_and_by_the_checkpoint() {
        let (mut links, keys) =
            chain(&[(1_000, true), (2_000, true), (3_000, true), (4_000, true)]);
        let kept = links[1].clone();
        let genuine = links.clone();
        let later = |link: &Link| Link {
            checkpoint: link.checkpoint.replace(".000000Z", ".000001Z"),
            ..link.clone()
        };
        links[2] = later(&genuine[2]);
        assert_ne!(links[2], genuine[2]);
        assert!(said(&links, &kept, &keys).contains("seal 3 was CHANGED since it was signed"));
        links.clone_from(&genuine);
        links[1] = later(&genuine[1]);
        assert_ne!(links[1], genuine[1]);
        assert!(said(&links, &kept, &keys).contains("the time of seal 2 was CHANGED"));
        assert_eq!(said(&genuine, &kept, &keys), "well");
    }
}
