//! GP: a manager of funds.

use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::lifecycle::aggregate;
use crate::links::check_linkable;
use crate::{DistributorId, Kind, Lifecycle, Links, RecordRef, Refusal, Verbatim};

attributes! {
    GpDetails / GpChanges {
        notion_id: String,
        location: String,
        contact_level: String,
        flagship_strategy: String,
        other_strategies: String,
        note: String,
        distributor_id: DistributorId,
    }
}

/// A GP as it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GpRecord {
    /// The manager's name.
    pub name: String,
    /// Everything optional.
    #[serde(flatten)]
    pub details: GpDetails,
    /// The LPs it has a relationship with.
    #[serde(skip)]
    pub links: Links,
    /// Source values that the attributes cannot hold.
    #[serde(skip)]
    pub legacy: Verbatim,
}

/// The aggregate.
pub type Gp = Lifecycle<GpRecord>;

/// What can be asked of a GP.
#[derive(Clone, Debug)]
pub enum GpCommand {
    /// Takes the GP up.
    Register {
        /// The manager's name.
        name: String,
        /// Everything optional.
        details: GpChanges,
        /// Source values that the attributes cannot hold.
        legacy: Verbatim,
    },
    /// PUT: what is absent stays, what changes nothing records nothing.
    Revise {
        /// The new name.
        name: Option<String>,
        /// The other changes.
        changes: GpChanges,
    },
    /// Records relationships with LPs.
    Link {
        /// The LPs.
        to: Vec<RecordRef>,
    },
    /// Ends relationships with LPs.
    Unlink {
        /// The LPs.
        from: Vec<RecordRef>,
    },
    /// Replaces the source values that the attributes cannot hold.
    KeepLegacy {
        /// All of them.
        values: Verbatim,
    },
    /// Removes the GP from use.
    Archive,
    /// Takes it into use again.
    Restore,
    /// Makes the GP what it was, or would have been: everything that differs is changed, in ordinary events.
    Revert {
        /// What it was.
        to: Box<Gp>,
    },
}

// Variant and field names are the storage format: rename only with an upcaster.
/// What has happened to a GP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, AsRefStr, VariantNames)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "fields carry the names of the attributes")]
pub enum GpEvent {
    /// It was taken up.
    Registered {
        name: String,
        details: GpChanges,
        #[serde(default, skip_serializing_if = "Verbatim::is_empty")]
        legacy: Verbatim,
    },
    /// It got another name.
    Renamed { name: String },
    /// Another distributor, or none, places its funds.
    DistributorAssigned { distributor: Option<DistributorId> },
    /// Other attributes changed.
    DetailsAmended { changes: GpChanges },
    /// Relationships with LPs were recorded.
    Linked { to: Vec<RecordRef> },
    /// Relationships with LPs were ended.
    Unlinked { from: Vec<RecordRef> },
    /// The source values that the attributes cannot hold are now these.
    LegacyKept { values: Verbatim },
    /// It was removed from use.
    Archived,
    /// It was taken into use again.
    Restored,
}

impl Gp {
    /// The kinds of records that a GP links to.
    pub const LINKABLE: &'static [Kind] = &[Kind::Lp];

    /// What a command leads to.
    ///
    /// # Errors
    /// A [`Refusal`] when the rules do not allow it.
    pub fn decide(&self, command: GpCommand) -> Result<Vec<GpEvent>, Refusal> {
        match command {
            GpCommand::Register { name, details, legacy } => {
                self.check_unregistered()?;
                let details = details.against(&GpDetails::default());
                Ok(vec![GpEvent::Registered { name, details, legacy }])
            }
            GpCommand::Revise { name, changes } => Ok(self.active()?.revise(name, changes)),
            GpCommand::Link { to } => {
                check_linkable(Kind::Gp, Self::LINKABLE, &to)?;
                let to = self.active()?.links.missing(to);
                Ok(if to.is_empty() { vec![] } else { vec![GpEvent::Linked { to }] })
            }
            GpCommand::Unlink { from } => {
                let from = self.active()?.links.present(&from);
                Ok(if from.is_empty() { vec![] } else { vec![GpEvent::Unlinked { from }] })
            }
            GpCommand::KeepLegacy { values } if self.active()?.legacy == values => Ok(vec![]),
            GpCommand::KeepLegacy { values } => Ok(vec![GpEvent::LegacyKept { values }]),
            GpCommand::Archive => self.active().map(|_| vec![GpEvent::Archived]),
            GpCommand::Restore => self.check_archived().map(|()| vec![GpEvent::Restored]),
            GpCommand::Revert { to } => {
                self.revert(&to, GpRecord::toward, GpEvent::Archived, GpEvent::Restored)
            }
        }
    }

    fn evolve(&mut self, event: GpEvent) {
        match event {
            GpEvent::Registered { name, details, legacy } => {
                let details = details.into();
                *self = Gp::Active(GpRecord { name, details, links: Links::default(), legacy });
            }
            GpEvent::Archived => self.archive(),
            GpEvent::Restored => self.restore(),
            change => {
                if let Some(record) = self.changed() {
                    record.change(change);
                }
            }
        }
    }
}

impl GpRecord {
    fn revise(&self, name: Option<String>, changes: GpChanges) -> Vec<GpEvent> {
        let mut changes = changes.against(&self.details);
        let distributor = changes.distributor_id.take();
        let mut events = Vec::new();
        if let Some(name) = name.filter(|name| *name != self.name) {
            events.push(GpEvent::Renamed { name });
        }
        if let Some(distributor) = distributor.into_option() {
            events.push(GpEvent::DistributorAssigned { distributor });
        }
        if !changes.is_empty() {
            events.push(GpEvent::DetailsAmended { changes });
        }
        events
    }

    /// What makes this record the other.
    fn toward(&self, to: &Self) -> Vec<GpEvent> {
        let mut events = self.revise(Some(to.name.clone()), self.details.toward(&to.details));
        let (from, linked) = (self.links.without(&to.links), to.links.without(&self.links));
        if !from.is_empty() {
            events.push(GpEvent::Unlinked { from });
        }
        if !linked.is_empty() {
            events.push(GpEvent::Linked { to: linked });
        }
        if self.legacy != to.legacy {
            events.push(GpEvent::LegacyKept { values: to.legacy.clone() });
        }
        events
    }

    fn change(&mut self, event: GpEvent) {
        match event {
            GpEvent::Renamed { name } => self.name = name,
            GpEvent::DistributorAssigned { distributor } => {
                self.details.distributor_id = distributor;
            }
            GpEvent::DetailsAmended { changes } => self.details.amend(changes),
            GpEvent::Linked { to } => self.links.add(to),
            GpEvent::Unlinked { from } => self.links.remove(&from),
            GpEvent::LegacyKept { values } => self.legacy = values,
            GpEvent::Registered { .. } | GpEvent::Archived | GpEvent::Restored => {}
        }
    }
}

aggregate!(Gp = GpRecord, Gp, GpCommand, GpEvent,
    own: [name: String], details: GpDetails, beside: [links], required: &["name"]);

#[cfg(test)]
mod tests {
    use cqrs_es::test::{AggregateTestExecutor, TestFramework};
    use serde_json::{Value, json};

    use super::*;
    use crate::{LpId, PersonId, SourceValue};

    fn given(events: Vec<GpEvent>) -> AggregateTestExecutor<Gp> {
        TestFramework::with(()).given(events)
    }

    fn changes(value: Value) -> GpChanges {
        serde_json::from_value(value).unwrap()
    }

    fn registered() -> GpEvent {
        GpEvent::Registered {
            name: "Ardent".into(),
            details: changes(json!({"location": "London", "distributor_id": 3})),
            legacy: Verbatim::default(),
        }
    }

    fn register(details: Value) -> GpCommand {
        let (name, legacy) = ("Ardent".into(), Verbatim::default());
        GpCommand::Register { name, details: changes(details), legacy }
    }

    fn revise(value: Value) -> GpCommand {
        GpCommand::Revise { name: None, changes: changes(value) }
    }

    fn kept() -> Verbatim {
        Verbatim([("distributor_id".to_owned(), SourceValue::Text("Apex".into()))].into())
    }

    fn lps<const N: usize>(ids: [i64; N]) -> Vec<RecordRef> {
        ids.map(|id| LpId(id).into()).into()
    }

    /// A PUT with something for every event.
    fn revision() -> GpCommand {
        GpCommand::Revise {
            name: Some("Ardent Capital".into()),
            changes: changes(json!({"location": "London", "distributor_id": 4, "note": "x"})),
        }
    }

    #[test]
    fn a_gp_is_registered_once_without_what_is_empty() {
        let details = json!({"location": "London", "distributor_id": 3, "note": null});
        given(vec![]).when(register(details)).then_expect_events(vec![registered()]);
        for history in [vec![registered()], vec![registered(), GpEvent::Archived]] {
            given(history).when(register(json!({}))).then_expect_error(Refusal::AlreadyRegistered);
        }
    }

    #[test]
    fn a_revision_records_only_what_changed_each_in_its_own_event() {
        given(vec![registered()]).when(revision()).then_expect_events(vec![
            GpEvent::Renamed { name: "Ardent Capital".into() },
            GpEvent::DistributorAssigned { distributor: Some(DistributorId(4)) },
            GpEvent::DetailsAmended { changes: changes(json!({"note": "x"})) },
        ]);
        given(vec![registered()])
            .when(revise(json!({"location": null, "distributor_id": null})))
            .then_expect_events(vec![
                GpEvent::DistributorAssigned { distributor: None },
                GpEvent::DetailsAmended { changes: changes(json!({"location": null})) },
            ]);
    }

    #[test]
    fn a_revision_sent_again_changes_nothing() {
        let events = given(vec![registered()]).when(revision()).inspect_result().unwrap();
        given(vec![registered()]).and(events).when(revision()).then_expect_events(vec![]);
    }

    #[test]
    fn what_changes_nothing_records_nothing() {
        let history = || {
            vec![
                registered(),
                GpEvent::Linked { to: lps([1]) },
                GpEvent::LegacyKept { values: kept() },
            ]
        };
        let commands = [
            GpCommand::Revise { name: Some("Ardent".into()), changes: GpChanges::default() },
            revise(json!({"location": "London", "distributor_id": 3, "note": null})),
            GpCommand::Link { to: lps([1, 1]) },
            GpCommand::Unlink { from: lps([2]) },
            GpCommand::KeepLegacy { values: kept() },
        ];
        for command in commands {
            given(history()).when(command).then_expect_events(vec![]);
        }
    }

    #[test]
    fn only_new_relationships_are_recorded_and_only_real_ones_ended() {
        let related = || given(vec![registered(), GpEvent::Linked { to: lps([1, 2]) }]);
        related()
            .when(GpCommand::Link { to: lps([2, 3, 3]) })
            .then_expect_events(vec![GpEvent::Linked { to: lps([3]) }]);
        related()
            .when(GpCommand::Unlink { from: lps([2, 2, 3]) })
            .then_expect_events(vec![GpEvent::Unlinked { from: lps([2]) }]);
        related()
            .and(vec![GpEvent::Unlinked { from: lps([2]) }])
            .when(GpCommand::Link { to: lps([1, 2]) })
            .then_expect_events(vec![GpEvent::Linked { to: lps([2]) }]);
    }

    #[test]
    fn a_gp_has_relationships_with_lps_only() {
        let to = PersonId(5).into();
        given(vec![registered()])
            .when(GpCommand::Link { to: vec![LpId(1).into(), to] })
            .then_expect_error(Refusal::CannotLink { from: Kind::Gp, to });
    }

    #[test]
    fn source_values_are_replaced_as_a_whole() {
        given(vec![registered(), GpEvent::LegacyKept { values: kept() }])
            .when(GpCommand::KeepLegacy { values: Verbatim::default() })
            .then_expect_events(vec![GpEvent::LegacyKept { values: Verbatim::default() }]);
    }

    #[test]
    fn only_a_gp_in_use_is_changed() {
        let commands = [
            revise(json!({})),
            GpCommand::Link { to: lps([1]) },
            GpCommand::Unlink { from: lps([1]) },
            GpCommand::KeepLegacy { values: kept() },
            GpCommand::Archive,
        ];
        for history in [vec![], vec![registered(), GpEvent::Archived]] {
            for command in commands.clone() {
                given(history.clone()).when(command).then_expect_error(Refusal::NotRegistered);
            }
        }
    }

    #[test]
    fn a_restored_gp_is_as_it_was() {
        let linked = || vec![registered(), GpEvent::Linked { to: lps([1]) }];
        given(linked()).when(GpCommand::Archive).then_expect_events(vec![GpEvent::Archived]);
        given(linked()).when(GpCommand::Restore).then_expect_error(Refusal::NotArchived);
        let archived = || given(linked()).and(vec![GpEvent::Archived]);
        archived().when(GpCommand::Restore).then_expect_events(vec![GpEvent::Restored]);
        let restored = || archived().and(vec![GpEvent::Restored]);
        restored().when(revise(json!({"location": "London"}))).then_expect_events(vec![]);
        restored().when(GpCommand::Link { to: lps([1]) }).then_expect_events(vec![]);
    }

    #[test]
    fn the_stored_form_of_an_event_never_changes() {
        let check = |event: GpEvent, stored: Value| {
            assert_eq!(serde_json::to_value(&event).unwrap(), stored);
            assert_eq!(serde_json::from_value::<GpEvent>(stored).unwrap(), event);
        };
        check(
            registered(),
            json!({"Registered": {"name": "Ardent",
                "details": {"location": "London", "distributor_id": 3}}}),
        );
        check(
            GpEvent::Registered { name: "".into(), details: GpChanges::default(), legacy: kept() },
            json!({"Registered": {"name": "", "details": {}, "legacy": {"distributor_id": "Apex"}}}),
        );
        check(GpEvent::Renamed { name: "X".into() }, json!({"Renamed": {"name": "X"}}));
        check(
            GpEvent::DistributorAssigned { distributor: Some(DistributorId(3)) },
            json!({"DistributorAssigned": {"distributor": 3}}),
        );
        check(
            GpEvent::DistributorAssigned { distributor: None },
            json!({"DistributorAssigned": {"distributor": null}}),
        );
        let all = json!({"notion_id": "n", "location": null, "contact_level": "c",
            "flagship_strategy": "f", "other_strategies": "o", "note": "t", "distributor_id": 3});
        check(
            GpEvent::DetailsAmended { changes: changes(all.clone()) },
            json!({"DetailsAmended": {"changes": all}}),
        );
        check(
            GpEvent::Linked { to: lps([1, 2]) },
            json!({"Linked": {"to": [{"lp": 1}, {"lp": 2}]}}),
        );
        check(GpEvent::Unlinked { from: lps([1]) }, json!({"Unlinked": {"from": [{"lp": 1}]}}));
        check(
            GpEvent::LegacyKept { values: kept() },
            json!({"LegacyKept": {"values": {"distributor_id": "Apex"}}}),
        );
        check(GpEvent::Archived, json!("Archived"));
        check(GpEvent::Restored, json!("Restored"));
    }
}
