//! The labelled set: organisations, notes about meetings with them, and queries with the notes that answer them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

/// Says which hashes the files are frozen at.
const README: &str = include_str!("README.md");

/// An LP, GP or distributor.
#[derive(Deserialize)]
pub struct Organisation {
    pub name: String,
    /// As in the API's words: `lp`, `gp`, `distributor`.
    pub kind: String,
}

/// What was noted down after a meeting.
#[derive(Deserialize)]
pub struct Note {
    pub id: String,
    /// `en` or `es`.
    pub lang: String,
    pub title: String,
    pub organisation: String,
    /// `2025-01-31`.
    pub date: String,
    pub text: String,
}

/// What somebody may ask.
#[derive(Deserialize)]
pub struct Query {
    pub id: String,
    pub stratum: Stratum,
    /// `en` or `es`; of a name, the language of whoever asks.
    pub lang: String,
    pub text: String,
    /// Grades of notes: 2 answers the query, 1 is related, all others are of no use.
    pub relevant: BTreeMap<String, u8>,
}

/// How a query is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stratum {
    /// By terms that stand in the notes.
    Exact,
    /// In other words, in the language of the notes that answer.
    Paraphrase,
    /// In the other language than the notes that answer.
    CrossLingual,
    /// By the name of an organisation or person, most of them misspelt.
    Name,
    /// About something that no note answers.
    NoAnswer,
}

impl Stratum {
    /// All that have answers.
    pub const ANSWERED: [Self; 4] = [Self::Exact, Self::Paraphrase, Self::CrossLingual, Self::Name];

    pub fn word(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Paraphrase => "paraphrase",
            Self::CrossLingual => "cross-lingual",
            Self::Name => "name",
            Self::NoAnswer => "no answer",
        }
    }
}

/// All of it.
pub struct Set {
    pub organisations: Vec<Organisation>,
    pub notes: Vec<Note>,
    pub queries: Vec<Query>,
}

impl Set {
    /// Reads the files beside this one and checks that they are the frozen ones and agree with each other.
    pub fn read() -> anyhow::Result<Self> {
        let set = Self {
            organisations: read("organisations.jsonl", include_str!("organisations.jsonl"))?,
            notes: read("notes.jsonl", include_str!("notes.jsonl"))?,
            queries: read("queries.jsonl", include_str!("queries.jsonl"))?,
        };
        set.check()?;
        Ok(set)
    }

    fn check(&self) -> anyhow::Result<()> {
        let names: BTreeSet<_> = self.organisations.iter().map(|one| one.name.as_str()).collect();
        let notes: BTreeSet<_> = self.notes.iter().map(|note| note.id.as_str()).collect();
        ensure!(notes.len() == self.notes.len(), "two notes have the same id");
        for note in &self.notes {
            let known = names.contains(note.organisation.as_str());
            ensure!(known, "{} is about `{}`, which is not listed", note.id, note.organisation);
        }
        for query in &self.queries {
            let unknown = query.relevant.keys().find(|id| !notes.contains(id.as_str()));
            ensure!(unknown.is_none(), "{} is answered by {unknown:?}, which is no note", query.id);
            let graded = query.relevant.values().all(|grade| matches!(grade, 1 | 2));
            ensure!(graded, "{} has a grade that is neither 1 nor 2", query.id);
            let answered = query.relevant.values().any(|grade| *grade == 2);
            let wanted = query.stratum != Stratum::NoAnswer;
            ensure!(answered == wanted, "{} is in a stratum that its labels contradict", query.id);
        }
        self.check_languages()
    }

    fn check_languages(&self) -> anyhow::Result<()> {
        let of: BTreeMap<_, _> = self.notes.iter().map(|note| (&note.id, &note.lang)).collect();
        for query in self.queries.iter().filter(|query| query.stratum == Stratum::CrossLingual) {
            let mut answers = query.relevant.iter().filter(|(_, grade)| **grade == 2);
            let across =
                answers.all(|(note, _)| of.get(note).is_some_and(|lang| **lang != query.lang));
            ensure!(across, "{} has an answer in its own language", query.id);
        }
        Ok(())
    }
}

/// A JSON document per line, if the whole is what it was when the set was frozen.
fn read<T: DeserializeOwned>(name: &str, text: &str) -> anyhow::Result<Vec<T>> {
    let hash: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    let frozen = README.lines().any(|line| line.contains(name) && line.contains(&hash));
    ensure!(
        frozen,
        "{name} is not the frozen one: README.md does not list {hash}. Figures of a changed set cannot be compared with \
         earlier ones: restore it, or write the new hash down and say why"
    );
    let parse = |line: &str| serde_json::from_str(line).with_context(|| format!("{name}: {line}"));
    text.lines().map(parse).collect()
}
