//! Filtered lists of todos.

use sqlx::PgConnection;

use super::tables::fold;

/// Which todos to list; what is `None` or empty does not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TodoFilter {
    /// Exactly this status.
    pub status: Option<String>,
    /// Exactly this priority.
    pub priority: Option<String>,
    /// The tags contain this text; `%` and `_` are wildcards, ASCII case does not matter.
    pub tag: Option<String>,
    /// Due before this text, compared as text.
    pub due_before: Option<String>,
    /// Due after this text, compared as text.
    pub due_after: Option<String>,
}

impl TodoFilter {
    /// Whether every todo passes.
    pub fn is_empty(&self) -> bool {
        self.parts().iter().all(Option::is_none)
    }

    fn parts(&self) -> [Option<&str>; 5] {
        [&self.status, &self.priority, &self.tag, &self.due_before, &self.due_after]
            .map(|part| part.as_deref().filter(|text| !text.is_empty()))
    }

    /// The records that pass, in the order of the unfiltered list.
    pub(super) async fn records(&self, db: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
        let [status, priority, tag, due_before, due_after] = self.parts();
        // Postgres cannot hold U+0000, so nothing stored is equal to or contains it.
        if [status, priority, tag, due_before, due_after]
            .into_iter()
            .flatten()
            .any(|t| t.contains('\0'))
        {
            return Ok(vec![]);
        }
        sqlx::query_scalar(
            "select record::text from todo where not archived
                 and ($1::text is null or status = $1)
                 and ($2::text is null or priority = $2)
                 and ($3::text is null or folded_tags like '%' || $3 || '%' escape '')
                 and ($4::text is null or due_key < $4)
                 and ($5::text is null or due_key > $5)
             order by due_key nulls first, priority desc nulls last, id",
        )
        .bind(status)
        .bind(priority)
        .bind(tag.map(fold))
        .bind(due_before)
        .bind(due_after)
        .fetch_all(db)
        .await
    }
}
