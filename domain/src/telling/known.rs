//! Which fields and events there are: what histories can be asked for.

use strum::VariantNames as _;

use crate::distributor::{DistributorEvent, DistributorRecord};
use crate::fund::{FundEvent, FundRecord};
use crate::gp::{GpEvent, GpRecord};
use crate::import::ImportEvent;
use crate::lp::{LpEvent, LpRecord};
use crate::note::{NoteEvent, NoteRecord};
use crate::person::{PersonEvent, PersonRecord};
use crate::roadshow::{RoadshowEvent, RoadshowRecord};
use crate::todo::{TodoEvent, TodoRecord};
use crate::{Kind, Record};

/// The fields that events of this kind may change, in the order of the alphabet. `legacy` stands for all source values,
/// `recordings` for all that is known of recordings.
pub fn fields(kind: Kind) -> Vec<&'static str> {
    let (own, beside): (Vec<&str>, &[&str]) = match kind {
        Kind::Lp => (attributes::<LpRecord>(), &[]),
        Kind::Gp => (attributes::<GpRecord>(), &["links"]),
        Kind::Distributor => (attributes::<DistributorRecord>(), &[]),
        Kind::Person => (attributes::<PersonRecord>(), &["affiliations", "hold"]),
        Kind::Fund => {
            (attributes::<FundRecord>(), &["interest", "last_contact_date", "latest_note_id"])
        }
        Kind::Note => (attributes::<NoteRecord>(), &["links", "hold", "recordings"]),
        Kind::Todo => (attributes::<TodoRecord>(), &["links"]),
        Kind::Roadshow => {
            (attributes::<RoadshowRecord>(), &["status", "last_contact_date", "latest_note_id"])
        }
    };
    ordered([&own, beside, &["archived", "legacy"]].concat())
}

fn attributes<R: Record>() -> Vec<&'static str> {
    R::fields().map(|field| field.name).collect()
}

/// The names of the events of this kind, in the order of the alphabet.
pub fn events(kind: Kind) -> Vec<&'static str> {
    let names = match kind {
        Kind::Lp => LpEvent::VARIANTS,
        Kind::Gp => GpEvent::VARIANTS,
        Kind::Distributor => DistributorEvent::VARIANTS,
        Kind::Person => PersonEvent::VARIANTS,
        Kind::Fund => FundEvent::VARIANTS,
        Kind::Note => NoteEvent::VARIANTS,
        Kind::Todo => TodoEvent::VARIANTS,
        Kind::Roadshow => RoadshowEvent::VARIANTS,
    };
    ordered(names.to_vec())
}

/// The fields of all kinds.
pub fn all_fields() -> Vec<&'static str> {
    ordered(Kind::ALL.iter().flat_map(|kind| fields(*kind)).collect())
}

/// The names of all events, also of those that belong to no record.
pub fn all_events() -> Vec<&'static str> {
    let of_records = Kind::ALL.iter().flat_map(|kind| events(*kind));
    ordered(of_records.chain(ImportEvent::VARIANTS.iter().copied()).collect())
}

fn ordered(mut names: Vec<&'static str>) -> Vec<&'static str> {
    names.sort_unstable();
    names.dedup();
    names
}
