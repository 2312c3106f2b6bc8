//! How much of the texts can be found by meaning, so that no answer is made of a part without saying so.

use sqlx::PgConnection;

use super::sets::{self, EMBEDDED, State};

/// From how many texts on an answer says that they are missing. Fewer are embedded within seconds.
const WORTH_SAYING: i64 = 100;

/// How much of the texts a model's set has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Whether it answers.
    pub is_live: bool,
    /// The pieces of text that are in it.
    pub there: i64,
    /// Those that are still to be taken in. Nobody counts them while there are none.
    pub waiting: i64,
}

impl Extent {
    /// Of the set that is made of the texts which this connection finds; there may be none yet.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn of_model(db: &mut PgConnection, model: i32) -> Result<Self, sqlx::Error> {
        let Some(texts) = sets::texts(db).await? else { return Ok(Self::default()) };
        let chunks = texts.chunks();
        let all = sets::of_model(db, model).await?;
        let of_these = |set: &&sets::VectorSet| set.state != State::Retired && set.chunks == chunks;
        let found = all.iter().find(of_these);
        let is_live = found.is_some_and(|set| set.state == State::Live);
        let position = found.map_or(0, |set| set.position);
        if is_live && position >= texts.position {
            return Ok(Self { is_live, ..Self::default() });
        }
        let (there, waiting): (i64, i64) = sqlx::query_as(&format!(
            "select (select count(*) from vector_point where set_id = $1),
                 (select count(*) from findable f join passage t using (kind, id) where f.position > $2 and {EMBEDDED})"
        ))
        .bind(found.map_or(0, |set| set.set.id))
        .bind(position)
        .fetch_one(db)
        .await?;
        Ok(Self { is_live, there, waiting })
    }

    /// What an answer that is made of it says of what it lacks; nothing if that is next to nothing.
    pub(super) fn lacks(self) -> Option<String> {
        let Self { there, waiting, .. } = self;
        (waiting >= WORTH_SAYING).then(|| {
            format!(
                "{waiting} of {} texts are not found by meaning yet, they are being embedded",
                there + waiting
            )
        })
    }

    /// Why there is no answer although there is a model.
    pub(super) fn unready(self) -> String {
        let Self { there, waiting, is_live } = self;
        match is_live && waiting < WORTH_SAYING {
            true => "the vectors are being loaded".to_owned(),
            false => format!("the texts are being embedded, {there} of {} so far", there + waiting),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_unless_it_is_there_in_a_moment() {
        let extent = |is_live, waiting| Extent { is_live, there: 500, waiting };
        assert_eq!(extent(true, 0).lacks(), None);
        assert_eq!(extent(true, 99).lacks(), None);
        let said = extent(true, 1_500).lacks().unwrap();
        assert!(said.starts_with("1500 of 2000 texts"), "{said}");
        assert!(extent(false, 1_500).unready().contains("500 of 2000"));
        assert!(extent(false, 0).unready().contains("500 of 500"));
        assert!(extent(true, 0).unready().contains("loaded"));
    }
}
