//! LP: an institution that may commit capital to a fund.

use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::lifecycle::aggregate;
use crate::{Change, Lifecycle, Refusal, Verbatim};

attributes! {
    LpDetails / LpChanges {
        notion_id: String,
        aum_billions: f64,
        advisor: String,
        intl_alts: String,
        intl_mf: String,
        local_alts: String,
        local_mf: String,
        investment_high: f64,
        investment_low: f64,
        location: String,
        priority: String,
        type_of_group: String,
        text: String,
    }
}

/// An LP as it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LpRecord {
    /// The institution's name; legacy names may be blank.
    pub name: String,
    /// Everything optional.
    #[serde(flatten)]
    pub details: LpDetails,
    /// Source values that the attributes cannot hold.
    #[serde(skip)]
    pub legacy: Verbatim,
}

/// The aggregate.
pub type Lp = Lifecycle<LpRecord>;

/// What can be asked of an LP.
#[derive(Clone, Debug)]
pub enum LpCommand {
    /// Takes the LP up.
    Register {
        /// The institution's name.
        name: String,
        /// Everything optional.
        details: LpChanges,
        /// Source values that the attributes cannot hold.
        legacy: Verbatim,
    },
    /// PUT: what is absent stays, what changes nothing records nothing.
    Revise {
        /// The new name.
        name: Option<String>,
        /// The other changes.
        changes: LpChanges,
    },
    /// Replaces the source values that the attributes cannot hold.
    KeepLegacy {
        /// All of them.
        values: Verbatim,
    },
    /// Removes the LP from use.
    Archive,
    /// Takes it into use again.
    Restore,
    /// Makes the LP what it was, or would have been: everything that differs is changed, in ordinary events.
    Revert {
        /// What it was.
        to: Box<Lp>,
    },
}

// Variant and field names are the storage format: rename only with an upcaster.
/// What has happened to an LP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, AsRefStr, VariantNames)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "fields carry the names of the attributes")]
pub enum LpEvent {
    /// It was taken up.
    Registered {
        name: String,
        details: LpChanges,
        #[serde(default, skip_serializing_if = "Verbatim::is_empty")]
        legacy: Verbatim,
    },
    /// It got another name.
    Renamed { name: String },
    /// The size of cheque it writes changed: US$ millions.
    TicketResized {
        #[serde(default, skip_serializing_if = "Change::is_keep")]
        low: Change<f64>,
        #[serde(default, skip_serializing_if = "Change::is_keep")]
        high: Change<f64>,
    },
    /// The team gave it another priority.
    Prioritised { priority: Option<String> },
    /// Other attributes changed.
    DetailsAmended { changes: LpChanges },
    /// The source values that the attributes cannot hold are now these.
    LegacyKept { values: Verbatim },
    /// It was removed from use.
    Archived,
    /// It was taken into use again.
    Restored,
}

impl Lp {
    /// What a command leads to.
    ///
    /// # Errors
    /// A [`Refusal`] when the rules do not allow it.
    pub fn decide(&self, command: LpCommand) -> Result<Vec<LpEvent>, Refusal> {
        match command {
            LpCommand::Register { name, details, legacy } => {
                self.check_unregistered()?;
                let details = details.against(&LpDetails::default());
                Ok(vec![LpEvent::Registered { name, details, legacy }])
            }
            LpCommand::Revise { name, changes } => Ok(self.active()?.revise(name, changes)),
            LpCommand::KeepLegacy { values } if self.active()?.legacy == values => Ok(vec![]),
            LpCommand::KeepLegacy { values } => Ok(vec![LpEvent::LegacyKept { values }]),
            LpCommand::Archive => self.active().map(|_| vec![LpEvent::Archived]),
            LpCommand::Restore => self.check_archived().map(|()| vec![LpEvent::Restored]),
            LpCommand::Revert { to } => {
                self.revert(&to, LpRecord::toward, LpEvent::Archived, LpEvent::Restored)
            }
        }
    }

    fn evolve(&mut self, event: LpEvent) {
        match event {
            LpEvent::Registered { name, details, legacy } => {
                *self = Lp::Active(LpRecord { name, details: details.into(), legacy });
            }
            LpEvent::Archived => self.archive(),
            LpEvent::Restored => self.restore(),
            change => {
                if let Some(record) = self.changed() {
                    record.change(change);
                }
            }
        }
    }
}

impl LpRecord {
    fn revise(&self, name: Option<String>, changes: LpChanges) -> Vec<LpEvent> {
        let mut changes = changes.against(&self.details);
        let (low, high) = (changes.investment_low.take(), changes.investment_high.take());
        let priority = changes.priority.take();
        let mut events = Vec::new();
        if let Some(name) = name.filter(|name| *name != self.name) {
            events.push(LpEvent::Renamed { name });
        }
        if !(low.is_keep() && high.is_keep()) {
            events.push(LpEvent::TicketResized { low, high });
        }
        if let Some(priority) = priority.into_option() {
            events.push(LpEvent::Prioritised { priority });
        }
        if !changes.is_empty() {
            events.push(LpEvent::DetailsAmended { changes });
        }
        events
    }

    /// What makes this record the other.
    fn toward(&self, to: &Self) -> Vec<LpEvent> {
        let mut events = self.revise(Some(to.name.clone()), self.details.toward(&to.details));
        if self.legacy != to.legacy {
            events.push(LpEvent::LegacyKept { values: to.legacy.clone() });
        }
        events
    }

    fn change(&mut self, event: LpEvent) {
        match event {
            LpEvent::Renamed { name } => self.name = name,
            LpEvent::TicketResized { low, high } => {
                low.apply(&mut self.details.investment_low);
                high.apply(&mut self.details.investment_high);
            }
            LpEvent::Prioritised { priority } => self.details.priority = priority,
            LpEvent::DetailsAmended { changes } => self.details.amend(changes),
            LpEvent::LegacyKept { values } => self.legacy = values,
            LpEvent::Registered { .. } | LpEvent::Archived | LpEvent::Restored => {}
        }
    }
}

aggregate!(Lp = LpRecord, Lp, LpCommand, LpEvent,
    own: [name: String], details: LpDetails, beside: [], required: &["name"]);

#[cfg(test)]
mod tests {
    use cqrs_es::test::{AggregateTestExecutor, TestFramework};
    use serde_json::{Value, json};

    use super::*;

    fn given(events: Vec<LpEvent>) -> AggregateTestExecutor<Lp> {
        TestFramework::with(()).given(events)
    }

    fn changes(value: Value) -> LpChanges {
        serde_json::from_value(value).unwrap()
    }

    fn registered() -> LpEvent {
        LpEvent::Registered {
            name: "Profuturo".into(),
            details: changes(json!({"location": "Lima", "investment_low": 10.0})),
            legacy: Verbatim::default(),
        }
    }

    fn revise(value: Value) -> LpCommand {
        LpCommand::Revise { name: None, changes: changes(value) }
    }

    /// A PUT with something for every event.
    fn revision() -> LpCommand {
        LpCommand::Revise {
            name: Some("Profuturo AFP".into()),
            changes: changes(json!({"location": "Lima", "advisor": "Mercer",
                "investment_low": 5.0, "investment_high": 25.0, "priority": "A"})),
        }
    }

    #[test]
    fn a_revision_records_only_what_changed_each_in_its_own_event() {
        given(vec![registered()]).when(revision()).then_expect_events(vec![
            LpEvent::Renamed { name: "Profuturo AFP".into() },
            LpEvent::TicketResized { low: Change::Set(5.0), high: Change::Set(25.0) },
            LpEvent::Prioritised { priority: Some("A".into()) },
            LpEvent::DetailsAmended { changes: changes(json!({"advisor": "Mercer"})) },
        ]);
    }

    #[test]
    fn a_revision_sent_again_changes_nothing() {
        let events = given(vec![registered()]).when(revision()).inspect_result().unwrap();
        given(vec![registered()]).and(events).when(revision()).then_expect_events(vec![]);
    }

    #[test]
    fn a_revision_that_changes_nothing_records_nothing() {
        given(vec![registered()])
            .when(revise(json!({"location": "Lima", "advisor": null})))
            .then_expect_events(vec![]);
    }

    #[test]
    fn null_clears() {
        given(vec![registered()]).when(revise(json!({"location": null}))).then_expect_events(vec![
            LpEvent::DetailsAmended { changes: changes(json!({"location": null})) },
        ]);
    }

    #[test]
    fn an_archived_lp_is_neither_revised_nor_registered_again() {
        let archived = || given(vec![registered(), LpEvent::Archived]);
        archived().when(revise(json!({}))).then_expect_error(Refusal::NotRegistered);
        archived().when(LpCommand::Archive).then_expect_error(Refusal::NotRegistered);
        let again = LpCommand::Register {
            name: "X".into(),
            details: LpChanges::default(),
            legacy: Verbatim::default(),
        };
        archived().when(again).then_expect_error(Refusal::AlreadyRegistered);
    }

    #[test]
    fn a_restored_lp_is_as_it_was() {
        given(vec![registered(), LpEvent::Archived, LpEvent::Restored])
            .when(revise(json!({"location": "Lima"})))
            .then_expect_events(vec![]);
        given(vec![registered()]).when(LpCommand::Restore).then_expect_error(Refusal::NotArchived);
    }

    #[test]
    fn the_stored_form_of_an_event_never_changes() {
        let check = |event: LpEvent, stored: Value| {
            assert_eq!(serde_json::to_value(&event).unwrap(), stored);
            assert_eq!(serde_json::from_value::<LpEvent>(stored).unwrap(), event);
        };
        check(
            registered(),
            json!({"Registered": {"name": "Profuturo",
            "details": {"location": "Lima", "investment_low": 10.0}}}),
        );
        check(LpEvent::Renamed { name: "X".into() }, json!({"Renamed": {"name": "X"}}));
        check(
            LpEvent::TicketResized { low: Change::Clear, high: Change::Keep },
            json!({"TicketResized": {"low": null}}),
        );
        check(LpEvent::Prioritised { priority: None }, json!({"Prioritised": {"priority": null}}));
        check(
            LpEvent::DetailsAmended {
                changes: changes(json!({"text": null, "aum_billions": 1.5})),
            },
            json!({"DetailsAmended": {"changes": {"aum_billions": 1.5, "text": null}}}),
        );
        check(
            LpEvent::LegacyKept {
                values: serde_json::from_value(json!({"aum_billions": "12,5"})).unwrap(),
            },
            json!({"LegacyKept": {"values": {"aum_billions": "12,5"}}}),
        );
        check(LpEvent::Archived, json!("Archived"));
        check(LpEvent::Restored, json!("Restored"));
    }
}
