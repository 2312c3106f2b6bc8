//! Distributor: a house that places funds with the LPs of its market.

use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::lifecycle::aggregate;
use crate::{Lifecycle, Refusal, Verbatim};

attributes! {
    DistributorDetails / DistributorChanges {
        notion_id: String,
        headquarter: String,
        mexico: String,
        text: String,
    }
}

/// A distributor as it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DistributorRecord {
    /// The house's name.
    pub name: String,
    /// Everything optional.
    #[serde(flatten)]
    pub details: DistributorDetails,
    /// Source values that the attributes cannot hold.
    #[serde(skip)]
    pub legacy: Verbatim,
}

/// The aggregate.
pub type Distributor = Lifecycle<DistributorRecord>;

/// What can be asked of a distributor.
#[derive(Clone, Debug)]
pub enum DistributorCommand {
    /// Takes the distributor up.
    Register {
        /// The house's name.
        name: String,
        /// Everything optional.
        details: DistributorChanges,
        /// Source values that the attributes cannot hold.
        legacy: Verbatim,
    },
    /// PUT: what is absent stays, what changes nothing records nothing.
    Revise {
        /// The new name.
        name: Option<String>,
        /// The other changes.
        changes: DistributorChanges,
    },
    /// Replaces the source values that the attributes cannot hold.
    KeepLegacy {
        /// All of them.
        values: Verbatim,
    },
    /// Removes the distributor from use.
    Archive,
    /// Takes it into use again.
    Restore,
    /// Makes the distributor what it was, or would have been: everything that differs is changed, in ordinary events.
    Revert {
        /// What it was.
        to: Box<Distributor>,
    },
}

// Variant and field names are the storage format: rename only with an upcaster.
/// What has happened to a distributor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, AsRefStr, VariantNames)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "fields carry the names of the attributes")]
pub enum DistributorEvent {
    /// It was taken up.
    Registered {
        name: String,
        details: DistributorChanges,
        #[serde(default, skip_serializing_if = "Verbatim::is_empty")]
        legacy: Verbatim,
    },
    /// It got another name.
    Renamed { name: String },
    /// Other attributes changed.
    DetailsAmended { changes: DistributorChanges },
    /// The source values that the attributes cannot hold are now these.
    LegacyKept { values: Verbatim },
    /// It was removed from use.
    Archived,
    /// It was taken into use again.
    Restored,
}

impl Distributor {
    /// What a command leads to.
    ///
    /// # Errors
    /// A [`Refusal`] when the rules do not allow it.
    pub fn decide(&self, command: DistributorCommand) -> Result<Vec<DistributorEvent>, Refusal> {
        use DistributorCommand::{Archive, KeepLegacy, Register, Restore, Revert, Revise};
        match command {
            Register { name, details, legacy } => {
                self.check_unregistered()?;
                let details = details.against(&DistributorDetails::default());
                Ok(vec![DistributorEvent::Registered { name, details, legacy }])
            }
            Revise { name, changes } => Ok(self.active()?.revise(name, changes)),
            KeepLegacy { values } if self.active()?.legacy == values => Ok(vec![]),
            KeepLegacy { values } => Ok(vec![DistributorEvent::LegacyKept { values }]),
            Archive => self.active().map(|_| vec![DistributorEvent::Archived]),
            Restore => self.check_archived().map(|()| vec![DistributorEvent::Restored]),
            Revert { to } => self.revert(
                &to,
                DistributorRecord::toward,
                DistributorEvent::Archived,
                DistributorEvent::Restored,
            ),
        }
    }

    fn evolve(&mut self, event: DistributorEvent) {
        match event {
            DistributorEvent::Registered { name, details, legacy } => {
                *self = Distributor::Active(DistributorRecord {
                    name,
                    details: details.into(),
                    legacy,
                });
            }
            DistributorEvent::Archived => self.archive(),
            DistributorEvent::Restored => self.restore(),
            change => {
                if let Some(record) = self.changed() {
                    record.change(change);
                }
            }
        }
    }
}

impl DistributorRecord {
    fn revise(&self, name: Option<String>, changes: DistributorChanges) -> Vec<DistributorEvent> {
        let changes = changes.against(&self.details);
        let mut events = Vec::new();
        if let Some(name) = name.filter(|name| *name != self.name) {
            events.push(DistributorEvent::Renamed { name });
        }
        if !changes.is_empty() {
            events.push(DistributorEvent::DetailsAmended { changes });
        }
        events
    }

    /// What makes this record the other.
    fn toward(&self, to: &Self) -> Vec<DistributorEvent> {
        let mut events = self.revise(Some(to.name.clone()), self.details.toward(&to.details));
        if self.legacy != to.legacy {
            events.push(DistributorEvent::LegacyKept { values: to.legacy.clone() });
        }
        events
    }

    fn change(&mut self, event: DistributorEvent) {
        match event {
            DistributorEvent::Renamed { name } => self.name = name,
            DistributorEvent::DetailsAmended { changes } => self.details.amend(changes),
            DistributorEvent::LegacyKept { values } => self.legacy = values,
            DistributorEvent::Registered { .. }
            | DistributorEvent::Archived
            | DistributorEvent::Restored => {}
        }
    }
}

aggregate!(Distributor = DistributorRecord, Distributor, DistributorCommand, DistributorEvent,
    own: [name: String], details: DistributorDetails, beside: [], required: &["name"]);

#[cfg(test)]
mod tests {
    use cqrs_es::test::{AggregateTestExecutor, TestFramework};
    use serde_json::{Value, json};

    use super::*;
    use crate::SourceValue;

    fn given(events: Vec<DistributorEvent>) -> AggregateTestExecutor<Distributor> {
        TestFramework::with(()).given(events)
    }

    fn changes(value: Value) -> DistributorChanges {
        serde_json::from_value(value).unwrap()
    }

    fn registered() -> DistributorEvent {
        DistributorEvent::Registered {
            name: "Apex".into(),
            details: changes(json!({"headquarter": "Madrid"})),
            legacy: Verbatim::default(),
        }
    }

    fn register(details: Value) -> DistributorCommand {
        let (name, legacy) = ("Apex".into(), Verbatim::default());
        DistributorCommand::Register { name, details: changes(details), legacy }
    }

    fn revise(value: Value) -> DistributorCommand {
        DistributorCommand::Revise { name: None, changes: changes(value) }
    }

    fn kept() -> Verbatim {
        Verbatim([("mexico".to_owned(), SourceValue::Blob { blob: "00ff".into() })].into())
    }

    /// A PUT with something for every event.
    fn revision() -> DistributorCommand {
        DistributorCommand::Revise {
            name: Some("Apex Placement".into()),
            changes: changes(json!({"headquarter": "Madrid", "mexico": "yes"})),
        }
    }

    #[test]
    fn a_distributor_is_registered_once_without_what_is_empty() {
        let details = json!({"headquarter": "Madrid", "mexico": null});
        given(vec![]).when(register(details)).then_expect_events(vec![registered()]);
        for history in [vec![registered()], vec![registered(), DistributorEvent::Archived]] {
            given(history).when(register(json!({}))).then_expect_error(Refusal::AlreadyRegistered);
        }
    }

    #[test]
    fn a_revision_records_only_what_changed_each_in_its_own_event() {
        given(vec![registered()]).when(revision()).then_expect_events(vec![
            DistributorEvent::Renamed { name: "Apex Placement".into() },
            DistributorEvent::DetailsAmended { changes: changes(json!({"mexico": "yes"})) },
        ]);
    }

    #[test]
    fn a_revision_sent_again_changes_nothing() {
        let events = given(vec![registered()]).when(revision()).inspect_result().unwrap();
        given(vec![registered()]).and(events).when(revision()).then_expect_events(vec![]);
    }

    #[test]
    fn null_clears() {
        given(vec![registered()]).when(revise(json!({"headquarter": null}))).then_expect_events(
            vec![DistributorEvent::DetailsAmended {
                changes: changes(json!({"headquarter": null})),
            }],
        );
    }

    #[test]
    fn what_changes_nothing_records_nothing() {
        let commands = [
            DistributorCommand::Revise { name: Some("Apex".into()), changes: changes(json!({})) },
            revise(json!({"headquarter": "Madrid", "mexico": null})),
            DistributorCommand::KeepLegacy { values: kept() },
        ];
        for command in commands {
            given(vec![registered(), DistributorEvent::LegacyKept { values: kept() }])
                .when(command)
                .then_expect_events(vec![]);
        }
    }

    #[test]
    fn source_values_are_replaced_as_a_whole() {
        let values = Verbatim::default();
        given(vec![registered(), DistributorEvent::LegacyKept { values: kept() }])
            .when(DistributorCommand::KeepLegacy { values: values.clone() })
            .then_expect_events(vec![DistributorEvent::LegacyKept { values }]);
    }

    #[test]
    fn only_a_distributor_in_use_is_changed() {
        let commands = [
            revise(json!({})),
            DistributorCommand::KeepLegacy { values: kept() },
            DistributorCommand::Archive,
        ];
        for history in [vec![], vec![registered(), DistributorEvent::Archived]] {
            for command in commands.clone() {
                given(history.clone()).when(command).then_expect_error(Refusal::NotRegistered);
            }
        }
    }

    #[test]
    fn a_restored_distributor_is_as_it_was() {
        use DistributorEvent::{Archived, Restored};
        let active = || given(vec![registered()]);
        active().when(DistributorCommand::Archive).then_expect_events(vec![Archived]);
        active().when(DistributorCommand::Restore).then_expect_error(Refusal::NotArchived);
        let archived = || active().and(vec![Archived]);
        archived().when(DistributorCommand::Restore).then_expect_events(vec![Restored]);
        let unchanged = revise(json!({"headquarter": "Madrid"}));
        archived().and(vec![Restored]).when(unchanged).then_expect_events(vec![]);
    }

    #[test]
    fn the_stored_form_of_an_event_never_changes() {
        let check = |event: DistributorEvent, stored: Value| {
            assert_eq!(serde_json::to_value(&event).unwrap(), stored);
            assert_eq!(serde_json::from_value::<DistributorEvent>(stored).unwrap(), event);
        };
        check(
            registered(),
            json!({"Registered": {"name": "Apex", "details": {"headquarter": "Madrid"}}}),
        );
        check(
            DistributorEvent::Registered {
                name: "Apex".into(),
                details: changes(json!({})),
                legacy: kept(),
            },
            json!({"Registered": {"name": "Apex", "details": {},
                "legacy": {"mexico": {"blob": "00ff"}}}}),
        );
        check(DistributorEvent::Renamed { name: "X".into() }, json!({"Renamed": {"name": "X"}}));
        let all = json!({"notion_id": "n", "headquarter": null, "mexico": "yes", "text": "t"});
        check(
            DistributorEvent::DetailsAmended { changes: changes(all.clone()) },
            json!({"DetailsAmended": {"changes": all}}),
        );
        check(
            DistributorEvent::LegacyKept { values: kept() },
            json!({"LegacyKept": {"values": {"mexico": {"blob": "00ff"}}}}),
        );
        check(DistributorEvent::Archived, json!("Archived"));
        check(DistributorEvent::Restored, json!("Restored"));
    }
}
