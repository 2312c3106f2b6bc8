//! Who has which Notion id: no command gives a record one that another record of its kind has.
//!
//! Claims are settled in the transaction that appends the events they follow from, under the append lock, so that what is
//! decided holds for every process. An import takes what its file says: what two of its records have is held by both,
//! and free when neither has it any more.

use domain::{Kind, RecordRef};
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;

/// How the Notion id changes that a record has while it is in use.
#[derive(Clone, Debug)]
pub struct Claim {
    record: RecordRef,
    freed: Option<Digest>,
    taken: Option<Digest>,
}

/// SHA-256 of a Notion id: short enough for an index, and nothing that an erased record said.
type Digest = [u8; 32];

impl Claim {
    /// What it means for the claims that a record had one Notion id and has another; `None` if nothing.
    pub fn between(record: RecordRef, before: Option<&str>, after: Option<&str>) -> Option<Self> {
        let digest = |id: &str| Sha256::digest(id).into();
        (before != after).then(|| Self {
            record,
            freed: before.map(digest),
            taken: after.map(digest),
        })
    }

    /// What the record takes: at most one of those that are settled together may take it.
    pub(super) fn taken(&self) -> Option<(Kind, Digest)> {
        Some((self.record.kind(), self.taken?))
    }
}

/// Settles claims if nobody else has what they take; else tells who has, and the transaction must not be committed.
///
/// # Errors
/// When the database fails.
pub(super) async fn settle(
    db: &mut PgConnection,
    claims: &[&Claim],
) -> Result<Option<RecordRef>, sqlx::Error> {
    const OWNER: &str = "select held.kind, held.id
        from unnest($1::text[], $2::bytea[], $3::bigint[]) as new (kind, digest, id) cross join lateral
            (select * from notion_claim where kind = new.kind and digest = new.digest and id <> new.id
             order by id limit 1) as held
        order by held.id limit 1";
    free(db, claims).await?;
    let taken = Columns::of(claims, |claim| &claim.taken);
    let owner: Option<(String, i64)> = sqlx::query_as(OWNER)
        .bind(&taken.kinds)
        .bind(&taken.digests)
        .bind(&taken.ids)
        .fetch_optional(&mut *db)
        .await?;
    match owner {
        Some((kind, id)) => Ok(Kind::parse(&kind).map(|kind| kind.record(id))),
        None => take(db, &taken).await.map(|()| None),
    }
}

/// Records claims that nobody may refuse.
///
/// # Errors
/// When the database fails.
pub(super) async fn accept(db: &mut PgConnection, claims: &[&Claim]) -> Result<(), sqlx::Error> {
    free(db, claims).await?;
    take(db, &Columns::of(claims, |claim| &claim.taken)).await
}

async fn free(db: &mut PgConnection, claims: &[&Claim]) -> Result<(), sqlx::Error> {
    const FREE: &str = "delete from notion_claim as held
        using unnest($1::text[], $2::bytea[], $3::bigint[]) as old (kind, digest, id)
        where (held.kind, held.digest, held.id) = (old.kind, old.digest, old.id)";
    Columns::of(claims, |claim| &claim.freed).execute(db, FREE).await
}

async fn take(db: &mut PgConnection, taken: &Columns<'_>) -> Result<(), sqlx::Error> {
    const TAKE: &str = "insert into notion_claim (kind, digest, id)
        select * from unnest($1::text[], $2::bytea[], $3::bigint[]) on conflict do nothing";
    taken.execute(db, TAKE).await
}

/// Rows of the table, column by column.
struct Columns<'a> {
    kinds: Vec<&'static str>,
    digests: Vec<&'a [u8]>,
    ids: Vec<i64>,
}

impl<'a> Columns<'a> {
    /// Those of the claims that have such a digest.
    fn of(claims: &[&'a Claim], digest: fn(&Claim) -> &Option<Digest>) -> Self {
        let (mut kinds, mut digests, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        for claim in claims {
            if let Some(digest) = digest(claim) {
                kinds.push(claim.record.kind().as_str());
                digests.push(digest.as_slice());
                ids.push(claim.record.id());
            }
        }
        Self { kinds, digests, ids }
    }

    /// Executes a statement with these rows, if there are any.
    async fn execute(
        &self,
        db: &mut PgConnection,
        statement: &'static str,
    ) -> Result<(), sqlx::Error> {
        if !self.ids.is_empty() {
            let query =
                sqlx::query(statement).bind(&self.kinds).bind(&self.digests).bind(&self.ids);
            query.execute(db).await?;
        }
        Ok(())
    }
}
