//! Records as they are searched that have no text of their own: a card each, of the fields that people read.

use domain::distributor::DistributorRecord;
use domain::fund::FundRecord;
use domain::gp::GpRecord;
use domain::lp::LpRecord;
use domain::person::PersonRecord;
use domain::roadshow::RoadshowRecord;
use domain::todo::TodoRecord;
use domain::{Kind, RecordRef};

use super::text::{Found, Part, Source};

/// The fields of a record as lines of text.
#[derive(Default)]
pub(super) struct Card(Vec<String>);

impl Card {
    pub(super) fn of(name: &str) -> Self {
        // Names of notes are written with underscores for blanks.
        Self(vec![name.replace('_', " ")])
    }

    /// A value that says by itself what it is.
    pub(super) fn line(mut self, value: &Option<String>) -> Self {
        self.0.extend(value.iter().filter(|value| !is_blank(value)).cloned());
        self
    }

    /// A value that does not.
    pub(super) fn field(mut self, label: &str, value: Option<&str>) -> Self {
        let value = value.filter(|value| !is_blank(value));
        self.0.extend(value.map(|value| format!("{label}: {value}")));
        self
    }

    pub(super) fn fields<const N: usize>(self, fields: [(&str, &Option<String>); N]) -> Self {
        fields.into_iter().fold(self, |card, (label, value)| card.field(label, value.as_deref()))
    }

    pub(super) fn source(self) -> Source {
        Source::written(Part::Card, self.0.join("\n"))
    }
}

/// Nothing that anybody reads: blanks, or the ids that an import left where names should be.
fn is_blank(value: &str) -> bool {
    let is_id =
        |word: &str| word.len() >= 32 && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    value.split([',', ' ']).filter(|word| !word.trim().is_empty()).all(is_id)
}

/// The values that are not blank, as one line.
pub(super) fn detail<const N: usize>(values: [Option<&str>; N]) -> Option<String> {
    let values: Vec<&str> =
        values.into_iter().flatten().map(str::trim).filter(|value| !is_blank(value)).collect();
    (!values.is_empty()).then(|| values.join(" · "))
}

pub(super) fn of_lp(lp: &LpRecord) -> Found {
    let it = &lp.details;
    let size = |label: &str, value: Option<f64>, unit: &str| {
        value.map(|value| format!("{label} US$ {value} {unit}"))
    };
    let card = Card::of(&lp.name)
        .line(&it.type_of_group)
        .line(&it.location)
        .line(&size("Assets", it.aum_billions, "bn"))
        .line(&size("Ticket from", it.investment_low, "mn"))
        .line(&size("Ticket up to", it.investment_high, "mn"))
        .fields([
            ("Priority", &it.priority),
            ("Advisor", &it.advisor),
            ("International alternatives", &it.intl_alts),
            ("International mutual funds", &it.intl_mf),
            ("Local alternatives", &it.local_alts),
            ("Local mutual funds", &it.local_mf),
        ])
        .line(&it.text);
    Found {
        title: lp.name.clone(),
        detail: detail([it.type_of_group.as_deref(), it.location.as_deref()]),
        sources: vec![card.source()],
        ..Found::default()
    }
}

pub(super) fn of_gp(gp: &GpRecord) -> Found {
    let it = &gp.details;
    let card = Card::of(&gp.name)
        .line(&it.location)
        .line(&it.flagship_strategy)
        .line(&it.other_strategies)
        .fields([("Contact", &it.contact_level)])
        .line(&it.note);
    Found {
        title: gp.name.clone(),
        detail: detail([it.flagship_strategy.as_deref(), it.location.as_deref()]),
        about: gp.links.iter().chain(it.distributor_id.map(RecordRef::from)).collect(),
        sources: vec![card.source()],
        ..Found::default()
    }
}

pub(super) fn of_distributor(distributor: &DistributorRecord) -> Found {
    let it = &distributor.details;
    let card = Card::of(&distributor.name)
        .line(&it.headquarter)
        .fields([("Mexico", &it.mexico)])
        .line(&it.text);
    Found {
        title: distributor.name.clone(),
        detail: detail([it.headquarter.as_deref()]),
        sources: vec![card.source()],
        ..Found::default()
    }
}

pub(super) fn of_person(person: &PersonRecord) -> Found {
    let it = &person.details;
    let card = Card::of(&person.name)
        .line(&it.position)
        .line(&it.people_type)
        .line(&it.location)
        .line(&it.email)
        .line(&it.cell_phone)
        .line(&it.office_phone)
        .fields([("Role", &it.role)])
        .line(&it.personal_note);
    // An organisation as the legacy application noted it, in whatever case it was written.
    let kind = it.org_type.as_deref().map(str::to_lowercase).and_then(|kind| Kind::parse(&kind));
    let employer = kind.zip(it.org_id).map(|(kind, id)| kind.record(id));
    Found {
        title: person.name.clone(),
        detail: detail([it.position.as_deref(), it.location.as_deref()]),
        about: person.affiliations.iter().chain(employer).collect(),
        sources: vec![card.source()],
        ..Found::default()
    }
}

pub(super) fn of_fund(fund: &FundRecord) -> Found {
    let it = &fund.details;
    let status = it.status.as_ref().map(|status| status.as_str());
    let card = Card::of(&fund.fund_name)
        .line(&it.asset_class)
        .line(&it.geography)
        .line(&it.sectors)
        .field("Status", status)
        .fields([
            ("Target IRR", &it.target_irr),
            ("Potential", &it.potential),
            ("Current LPs", &it.current_lps),
            ("Roadshows", &it.roadshows),
        ])
        .line(&it.note);
    Found {
        title: fund.fund_name.clone(),
        detail: detail([it.asset_class.as_deref(), it.geography.as_deref(), status]),
        date: it.launch.map(|launch| launch.instant()),
        about: fund.interests.keys().map(|lp| (*lp).into()).collect(),
        sources: vec![card.source()],
    }
}

pub(super) fn of_todo(todo: &TodoRecord) -> Found {
    let it = &todo.details;
    let status = todo.status.as_str().replace('_', " ");
    let priority = it.priority.as_ref().map(|priority| priority.as_str());
    let card = Card::of(&todo.title)
        .line(&it.description)
        .fields([("Tags", &it.tags)])
        .field("Status", Some(&status))
        .field("Priority", priority);
    Found {
        title: todo.title.clone(),
        detail: detail([Some(&status), priority, it.tags.as_deref()]),
        date: it.due_date.or(it.created_at).map(|day| day.instant()),
        about: todo.links.iter().chain(it.note_id.map(RecordRef::from)).collect(),
        sources: vec![card.source()],
    }
}

pub(super) fn of_roadshow(roadshow: &RoadshowRecord) -> Found {
    let it = &roadshow.details;
    let mut card = Card::of(&roadshow.name).line(&it.arrival_city).line(&it.second_city);
    for (label, logistics) in [
        ("Flight", &it.lv_flight),
        ("Hotel", &it.lv_hotel),
        ("Driver in Monterrey", &it.mty_driver),
        ("Driver in Mexico City", &it.cdmx_driver),
    ] {
        let said = logistics.as_ref().map(|logistics| logistics.as_str());
        card = card.field(label, said.filter(|said| *said != "None"));
    }
    Found {
        title: roadshow.name.clone(),
        detail: detail([it.arrival_city.as_deref(), it.second_city.as_deref()]),
        date: it.arrival.map(|arrival| arrival.instant()),
        about: roadshow
            .fund_id
            .map(Into::into)
            .into_iter()
            .chain(roadshow.statuses.keys().map(|lp| (*lp).into()))
            .collect(),
        sources: vec![card.line(&it.notes).source()],
    }
}
