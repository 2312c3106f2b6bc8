//! What the import asks of each kind of aggregate, and in which words.

use cqrs_es::Aggregate;
use domain::distributor::{Distributor, DistributorCommand, DistributorRecord};
use domain::fund::{Fund, FundCommand, FundRecord};
use domain::gp::{Gp, GpCommand, GpRecord};
use domain::lp::{Lp, LpCommand, LpRecord};
use domain::note::{Note, NoteCommand, NoteRecord};
use domain::person::{Person, PersonCommand, PersonRecord};
use domain::roadshow::{Roadshow, RoadshowCommand, RoadshowEvent, RoadshowRecord};
use domain::todo::{Todo, TodoCommand, TodoRecord};
use domain::{
    Contact, Event, FundId, Kind, Lifecycle, LpId, Moment, Record, RecordRef, Refusal, Remembered,
    Verbatim,
};
use serde::de::DeserializeOwned;

use crate::unit::{Content, Standing};

/// A command and its name.
pub type Named<C> = (&'static str, C);

/// An aggregate that legacy rows become.
pub trait Imported: Aggregate<Services = (), Error = Refusal, Event: Clone> {
    /// Its record.
    type Record: Record;

    /// `decide` of the aggregate.
    ///
    /// # Errors
    /// When the rules refuse.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Refusal>;

    /// The stage it is in.
    fn stage(&self) -> &Lifecycle<Self::Record>;

    /// The event, if it is one of this kind.
    fn event(event: Event) -> Option<Self::Event>;

    /// Takes the record up.
    ///
    /// # Errors
    /// When an attribute does not have its type, which conversion rules out.
    fn register(content: &Content) -> Result<Self::Command, serde_json::Error>;

    /// Gives the record the file's attributes. `announced` is the roadshow date that readers see at a fund because a
    /// roadshow announced it after the fund's own row was imported.
    ///
    /// # Errors
    /// As [`Imported::register`].
    fn revise(
        &self,
        content: &Content,
        announced: Option<Moment>,
    ) -> Result<Self::Command, serde_json::Error>;

    /// Replaces what the attributes cannot hold.
    fn keep_legacy(values: Verbatim) -> Self::Command;

    /// Removes the record from use.
    fn archive() -> Self::Command;

    /// Takes it into use again.
    fn restore() -> Self::Command;

    /// Makes links and standings those of the file.
    fn relate(&self, _: &Content) -> Vec<Named<Self::Command>> {
        Vec::new()
    }

    /// What the record is linked to.
    fn links(_: &Self::Record) -> Vec<RecordRef> {
        Vec::new()
    }

    /// How LPs stand to it.
    fn standings(_: &Self::Record) -> Vec<Standing> {
        Vec::new()
    }

    /// The fund and the date that the event, which led to this state, announces.
    fn announces(&self, _: &Self::Event) -> Option<(FundId, Moment)> {
        None
    }
}

fn own<T: DeserializeOwned>(content: &Content, name: &str) -> Result<T, serde_json::Error> {
    let value = content.own.get(name).cloned();
    serde_json::from_value(value.unwrap_or_else(|| serde_json::Value::String(String::new())))
}

fn details<T: DeserializeOwned>(content: &Content) -> Result<T, serde_json::Error> {
    serde_json::from_value(serde_json::Value::Object(content.details.clone()))
}

/// What is the same in all kinds.
macro_rules! common {
    ($Kind:ident, $Record:ident, $Command:ident) => {
        type Record = $Record;
        fn decide(&self, command: $Command) -> Result<Vec<Self::Event>, Refusal> {
            Lifecycle::<$Record>::decide(self, command)
        }
        fn stage(&self) -> &Lifecycle<$Record> {
            self
        }
        fn event(event: Event) -> Option<Self::Event> {
            match event {
                Event::$Kind(event) => Some(event),
                _ => None,
            }
        }
        fn keep_legacy(values: Verbatim) -> $Command {
            $Command::KeepLegacy { values }
        }
        fn archive() -> $Command {
            $Command::Archive
        }
        fn restore() -> $Command {
            $Command::Restore
        }
    };
}

/// What is the same in kinds that have nothing but a name and details.
macro_rules! named {
    ($Command:ident) => {
        fn register(content: &Content) -> Result<$Command, serde_json::Error> {
            let (name, details) = (own(content, "name")?, details(content)?);
            Ok($Command::Register { name, details, legacy: content.legacy.clone() })
        }
        fn revise(
            &self,
            content: &Content,
            _: Option<Moment>,
        ) -> Result<$Command, serde_json::Error> {
            Ok($Command::Revise { name: Some(own(content, "name")?), changes: details(content)? })
        }
    };
}

impl Imported for Lp {
    common!(Lp, LpRecord, LpCommand);
    named!(LpCommand);
}

impl Imported for Distributor {
    common!(Distributor, DistributorRecord, DistributorCommand);
    named!(DistributorCommand);
}

impl Imported for Gp {
    common!(Gp, GpRecord, GpCommand);
    named!(GpCommand);

    fn links(record: &GpRecord) -> Vec<RecordRef> {
        record.links.iter().collect()
    }

    fn relate(&self, content: &Content) -> Vec<Named<GpCommand>> {
        let current = self.record().map(|record| &record.links);
        let surplus: Vec<RecordRef> = current
            .into_iter()
            .flat_map(|links| links.surplus(Gp::LINKABLE, &content.links))
            .collect();
        vec![
            ("Unlink", GpCommand::Unlink { from: surplus }),
            ("Link", GpCommand::Link { to: content.links.clone() }),
        ]
    }
}

impl Imported for Person {
    common!(Person, PersonRecord, PersonCommand);
    named!(PersonCommand);

    fn links(record: &PersonRecord) -> Vec<RecordRef> {
        record.affiliations.iter().collect()
    }

    fn relate(&self, content: &Content) -> Vec<Named<PersonCommand>> {
        let current = self.record().map(|record| &record.affiliations);
        let surplus: Vec<RecordRef> = current
            .into_iter()
            .flat_map(|links| links.surplus(Person::LINKABLE, &content.links))
            .collect();
        vec![
            ("Disaffiliate", PersonCommand::Disaffiliate { from: surplus }),
            ("Affiliate", PersonCommand::Affiliate { with: content.links.clone() }),
        ]
    }
}

impl Imported for Fund {
    common!(Fund, FundRecord, FundCommand);

    fn register(content: &Content) -> Result<FundCommand, serde_json::Error> {
        let (fund_name, details) = (own(content, "fund_name")?, details(content)?);
        Ok(FundCommand::Register { fund_name, details, legacy: content.legacy.clone() })
    }

    fn revise(
        &self,
        content: &Content,
        announced: Option<Moment>,
    ) -> Result<FundCommand, serde_json::Error> {
        let changes: domain::fund::FundChanges = details(content)?;
        let own_date = self.record().and_then(|record| record.details.roadshow_date);
        let file_date = changes.roadshow_date.clone().into_option();
        // The log must hold the file's date as the fund's own even where a roadshow has announced the same.
        let shown_roadshow_date = match file_date {
            Some(date) if date == own_date => announced.or(own_date),
            _ => own_date,
        };
        let fund_name = Some(own(content, "fund_name")?);
        Ok(FundCommand::Revise { fund_name, changes, shown_roadshow_date })
    }

    fn standings(record: &FundRecord) -> Vec<Standing> {
        let standing = |(lp, standing): (&LpId, &domain::fund::Standing)| Standing {
            lp: *lp,
            word: standing.interest.as_str().to_owned(),
            remembered: standing.remembered.clone(),
        };
        record.interests.iter().map(standing).collect()
    }

    fn relate(&self, content: &Content) -> Vec<Named<FundCommand>> {
        let known = self.record().map(|record| record.interests.keys()).into_iter().flatten();
        let gone = surplus_lps(known, content)
            .map(|lp| ("ClearInterest", FundCommand::ClearInterest { lp }));
        let recorded = content.standings.iter().map(|standing| {
            let (contact, legacy) = told(&standing.remembered);
            let (lp, interest) = (standing.lp, standing.word.as_str().into());
            ("RecordInterest", FundCommand::RecordInterest { lp, interest, contact, legacy })
        });
        gone.chain(recorded).collect()
    }
}

impl Imported for Roadshow {
    common!(Roadshow, RoadshowRecord, RoadshowCommand);

    fn register(content: &Content) -> Result<RoadshowCommand, serde_json::Error> {
        Ok(RoadshowCommand::Register {
            name: own(content, "name")?,
            fund_id: fund_id(content),
            details: details(content)?,
            legacy: content.legacy.clone(),
        })
    }

    fn revise(
        &self,
        content: &Content,
        _: Option<Moment>,
    ) -> Result<RoadshowCommand, serde_json::Error> {
        Ok(RoadshowCommand::Revise {
            name: Some(own(content, "name")?),
            fund_id: fund_id(content).into(),
            changes: details(content)?,
            // Nobody has written the roadshow, so that nothing is announced unless something changed.
            fund_date: self.record().and_then(|record| record.details.arrival),
        })
    }

    fn standings(record: &RoadshowRecord) -> Vec<Standing> {
        let standing = |(lp, standing): (&LpId, &domain::roadshow::Standing)| Standing {
            lp: *lp,
            word: standing.status.as_str().to_owned(),
            remembered: standing.remembered.clone(),
        };
        record.statuses.iter().map(standing).collect()
    }

    fn relate(&self, content: &Content) -> Vec<Named<RoadshowCommand>> {
        let known = self.record().map(|record| record.statuses.keys()).into_iter().flatten();
        let gone = surplus_lps(known, content)
            .map(|lp| ("ClearStatus", RoadshowCommand::ClearStatus { lp }));
        let recorded = content.standings.iter().map(|standing| {
            let (contact, legacy) = told(&standing.remembered);
            let (lp, status) = (standing.lp, standing.word.as_str().into());
            ("RecordStatus", RoadshowCommand::RecordStatus { lp, status, contact, legacy })
        });
        gone.chain(recorded).collect()
    }

    fn announces(&self, event: &RoadshowEvent) -> Option<(FundId, Moment)> {
        let record = self.record().filter(|_| event.announces_arrival())?;
        Some((record.fund_id?, record.details.arrival?))
    }
}

impl Imported for Note {
    common!(Note, NoteRecord, NoteCommand);

    fn register(content: &Content) -> Result<NoteCommand, serde_json::Error> {
        let legacy = content.legacy.clone();
        Ok(NoteCommand::Register { details: details(content)?, legacy })
    }

    fn revise(
        &self,
        content: &Content,
        _: Option<Moment>,
    ) -> Result<NoteCommand, serde_json::Error> {
        Ok(NoteCommand::Revise { changes: details(content)? })
    }

    fn links(record: &NoteRecord) -> Vec<RecordRef> {
        record.links.iter().collect()
    }

    fn relate(&self, content: &Content) -> Vec<Named<NoteCommand>> {
        // No file knows participants.
        let kinds = Note::LINKABLE.iter().copied().filter(|&kind| kind != Kind::Person).collect();
        vec![("Relink", NoteCommand::Relink { kinds, to: content.links.clone() })]
    }
}

impl Imported for Todo {
    common!(Todo, TodoRecord, TodoCommand);

    fn register(content: &Content) -> Result<TodoCommand, serde_json::Error> {
        Ok(TodoCommand::Register {
            title: own(content, "title")?,
            status: own(content, "status")?,
            details: details(content)?,
            legacy: content.legacy.clone(),
        })
    }

    fn revise(
        &self,
        content: &Content,
        _: Option<Moment>,
    ) -> Result<TodoCommand, serde_json::Error> {
        Ok(TodoCommand::Revise {
            title: Some(own(content, "title")?),
            status: Some(own(content, "status")?),
            changes: details(content)?,
        })
    }

    fn links(record: &TodoRecord) -> Vec<RecordRef> {
        record.links.iter().collect()
    }

    fn relate(&self, content: &Content) -> Vec<Named<TodoCommand>> {
        let (kinds, to) = (Todo::LINKABLE.to_vec(), content.links.clone());
        vec![("Relink", TodoCommand::Relink { kinds, to })]
    }
}

fn fund_id(content: &Content) -> Option<FundId> {
    content.own.get("fund_id").and_then(serde_json::Value::as_i64).map(FundId)
}

/// All that a file's row remembers, also that it is nothing.
fn told(remembered: &Remembered) -> (Option<Contact>, Option<Verbatim>) {
    (Some(remembered.contact), Some(remembered.legacy.clone()))
}

/// The LPs among those known that the file no longer tells a standing of.
fn surplus_lps<'a>(
    known: impl Iterator<Item = &'a LpId>,
    content: &'a Content,
) -> impl Iterator<Item = LpId> {
    let there: std::collections::HashSet<LpId> = content.standings.iter().map(|s| s.lp).collect();
    known.copied().filter(move |lp| !there.contains(lp))
}
