//! From what a unit says to events: the commands it amounts to, decided by the aggregate in memory.

use cqrs_es::DomainEvent;
use domain::distributor::Distributor;
use domain::fund::{Fund, FundChanges, FundCommand};
use domain::gp::Gp;
use domain::lp::Lp;
use domain::note::Note;
use domain::person::Person;
use domain::roadshow::Roadshow;
use domain::todo::Todo;
use domain::{Event, FactChange, FundId, Kind, Lifecycle, Moment, Refusal, Subject, differences};

use crate::record::{Imported, Named};
use crate::unit::Content;

/// An event that was decided and is not yet in the log.
#[derive(Debug)]
pub struct Draft {
    /// The variant's name.
    pub event_type: String,
    /// The version of its stored form.
    pub event_version: String,
    /// The event as JSON text.
    pub payload: String,
    /// The command that led to it.
    pub command: &'static str,
    /// Whether it is the first event of that command.
    pub is_first: bool,
}

/// What a unit leads to.
#[derive(Debug, Default)]
pub struct Decision {
    /// The events, in order.
    pub drafts: Vec<Draft>,
    /// The arrivals that these events announce to funds.
    pub announced: Vec<(FundId, Moment)>,
    /// The id in Notion that the record had, and the one that it has after these events.
    pub notion_id: [Option<String>; 2],
    /// Whether the record was erased, so that nothing the file says of it may be taken up.
    pub is_erased: bool,
}

/// Why a unit leads to nothing. Conversion rules both out.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "transparent")]
pub enum DecideError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Content(#[from] serde_json::Error),
}

/// Decides what has to happen to a record with this history so that it says what the file says; `None` means that
/// the file no longer has it.
///
/// # Errors
/// [`DecideError`].
pub fn decide(
    kind: Kind,
    history: Vec<Event>,
    content: Option<&Content>,
    announced: Option<Moment>,
) -> Result<Decision, DecideError> {
    match kind {
        Kind::Lp => Decider::<Lp>::over(history).decide(content, announced),
        Kind::Gp => Decider::<Gp>::over(history).decide(content, announced),
        Kind::Distributor => Decider::<Distributor>::over(history).decide(content, announced),
        Kind::Person => Decider::<Person>::over(history).decide(content, announced),
        Kind::Fund => Decider::<Fund>::over(history).decide(content, announced),
        Kind::Note => Decider::<Note>::over(history).decide(content, announced),
        Kind::Todo => Decider::<Todo>::over(history).decide(content, announced),
        Kind::Roadshow => Decider::<Roadshow>::over(history).decide(content, announced),
    }
}

/// What a record that the team has worked on would say otherwise if it said what the file says: fact by fact, crm's and the
/// file's.
pub fn left_out(kind: Kind, history: &[Event], drafts: &[Draft]) -> Vec<FactChange> {
    let mut record = Subject::new(kind);
    history.iter().for_each(|event| record.apply(event));
    let in_crm = record.facts();
    for draft in drafts {
        // What was made a moment ago can be read.
        if let Ok(event) = Event::decode(kind.as_str(), &draft.event_type, &draft.payload) {
            record.apply(&event);
        }
    }
    differences(&in_crm, &record.facts())
}

/// Gives a fund the roadshow date that the team sees back, where a roadshow of the file has announced another one.
///
/// # Errors
/// [`DecideError`].
pub fn keep_date(
    history: Vec<Event>,
    date: Option<Moment>,
    announced: Moment,
) -> Result<Decision, DecideError> {
    let mut decider = Decider::<Fund>::over(history);
    if matches!(decider.aggregate.stage(), Lifecycle::Active(_)) {
        let changes = FundChanges { roadshow_date: date.into(), ..FundChanges::default() };
        let shown_roadshow_date = Some(announced);
        let revise = FundCommand::Revise { fund_name: None, changes, shown_roadshow_date };
        decider.put(("Revise", revise))?;
    }
    Ok(decider.decision)
}

struct Decider<A> {
    aggregate: A,
    decision: Decision,
}

impl<A: Imported> Decider<A> {
    fn over(history: Vec<Event>) -> Self {
        let mut aggregate = A::default();
        for event in history.into_iter().filter_map(A::event) {
            aggregate.apply(event);
        }
        Self { aggregate, decision: Decision::default() }
    }

    fn decide(
        mut self,
        content: Option<&Content>,
        announced: Option<Moment>,
    ) -> Result<Decision, DecideError> {
        let notion_id = |aggregate: &A| aggregate.stage().notion_id().map(str::to_owned);
        let before = notion_id(&self.aggregate);
        self.put_all(content, announced)?;
        self.decision.notion_id = [before, notion_id(&self.aggregate)];
        Ok(self.decision)
    }

    fn put_all(
        &mut self,
        content: Option<&Content>,
        announced: Option<Moment>,
    ) -> Result<(), DecideError> {
        let Some(content) = content else {
            if matches!(self.aggregate.stage(), Lifecycle::Active(_)) {
                self.put(("Archive", A::archive()))?;
            }
            return Ok(());
        };
        match self.aggregate.stage() {
            Lifecycle::Unregistered => self.put(("Register", A::register(content)?))?,
            Lifecycle::Active(_) => self.amend(content, announced)?,
            // Nobody brings it back, an import least of all.
            Lifecycle::Erased => {
                self.decision.is_erased = true;
                return Ok(());
            }
            Lifecycle::Archived(_) => {
                self.put(("Restore", A::restore()))?;
                self.amend(content, announced)?;
            }
        }
        for command in self.aggregate.relate(content) {
            self.put(command)?;
        }
        Ok(())
    }

    fn amend(&mut self, content: &Content, announced: Option<Moment>) -> Result<(), DecideError> {
        let revise = self.aggregate.revise(content, announced)?;
        self.put(("Revise", revise))?;
        self.put(("KeepLegacy", A::keep_legacy(content.legacy.clone())))
    }

    fn put(&mut self, (name, command): Named<A::Command>) -> Result<(), DecideError> {
        let mut is_first = true;
        for event in self.aggregate.decide(command)? {
            self.decision.drafts.push(Draft {
                event_type: event.event_type(),
                event_version: event.event_version(),
                payload: serde_json::to_string(&event)?,
                command: name,
                is_first: std::mem::take(&mut is_first),
            });
            self.aggregate.apply(event.clone());
            self.decision.announced.extend(self.aggregate.announces(&event));
        }
        Ok(())
    }
}
