//! Cause and effect: what led to a command or an event, and what followed from it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use uuid::Uuid;

use super::{History, HistoryEntry, Refusal, RefusalFilter};
use crate::database::DatabaseError;
use crate::read::audit;

/// The most events of one tree; whoever imports a file at once causes thousands.
const MOST: usize = 1_000;

/// What hangs together with a command, an event or a conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Causation {
    /// The commands that nothing known has caused, oldest first.
    pub roots: Vec<Caused>,
    /// What was refused in the same conversations, newest first.
    pub refusals: Vec<Refusal>,
    /// Whether this is all of it; of very much only the oldest events are shown.
    pub is_whole: bool,
    /// Streams that are not found from some event on, since it cannot be read.
    pub missing: Vec<String>,
}

/// What one command did for one cause: its events, each with the commands that followed from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Caused {
    /// Names the command.
    pub command_id: Uuid,
    /// The command or event that caused it.
    pub causation_id: Option<Uuid>,
    /// Its events, oldest first, each with what followed from it.
    pub events: Vec<(HistoryEntry, Vec<Caused>)>,
    /// What followed from the command itself.
    pub led_to: Vec<Caused>,
}

/// An event by how it hangs together with others.
type Link = (i64, Uuid, Uuid, Uuid, Option<Uuid>);

impl History {
    /// What hangs together with a command, an event or a conversation of this id: the causes of its causes, and whatever
    /// followed from any of these. `None` if nothing in the log and no refusal has it.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn causation(&self, id: Uuid) -> Result<Option<Causation>, DatabaseError> {
        let mut links: BTreeMap<i64, Link> = BTreeMap::new();
        let (mut asked, mut open) = (HashSet::new(), vec![id]);
        while !open.is_empty() && links.len() <= MOST {
            asked.extend(open.iter().copied());
            let found = self.linked_with(&open, id).await?;
            open.clear();
            for link @ (position, event, command, _, cause) in found {
                open.extend([Some(event), Some(command), cause].into_iter().flatten());
                links.insert(position, link);
            }
            open.sort_unstable();
            open.dedup();
            open.retain(|id| !asked.contains(id));
        }
        let is_whole = links.len() <= MOST;
        let chosen: BTreeSet<i64> = links.keys().copied().take(MOST).collect();
        let mut conversations: BTreeSet<Uuid> = links.values().map(|link| link.3).collect();
        conversations.insert(id);
        let mut refusals = Vec::new();
        // Few: one request is one conversation.
        for conversation in conversations.into_iter().take(MOST) {
            let filter = RefusalFilter { correlation: Some(conversation), ..Default::default() };
            refusals.extend(self.refusals(&filter, None, MOST).await?.refusals);
        }
        if chosen.is_empty() && refusals.is_empty() {
            return Ok(None);
        }
        let mut entries = self.tell_at(&chosen).await?;
        entries.reverse();
        let missing = self.missing().await?;
        Ok(Some(Causation { roots: grow(entries), refusals, is_whole, missing }))
    }

    async fn missing(&self) -> Result<Vec<String>, DatabaseError> {
        let asking = async {
            let mut connection = self.database.pool.acquire().await?;
            audit::missing(&mut connection).await
        };
        self.database.ask(asking).await
    }

    /// The events that are, belong to, or were caused by any of these ids; and those of the conversation.
    async fn linked_with(
        &self,
        ids: &[Uuid],
        conversation: Uuid,
    ) -> Result<Vec<Link>, DatabaseError> {
        let columns = "position, event_id, command_id, correlation_id, causation_id";
        // One index each.
        let statement = format!(
            "(select {columns} from audit where event_id = any ($1) order by position limit $3)
             union (select {columns} from audit where command_id = any ($1) order by position limit $3)
             union (select {columns} from audit where causation_id = any ($1) order by position limit $3)
             union (select {columns} from audit where correlation_id = $2 order by position limit $3)"
        );
        let question = sqlx::query_as(&statement)
            .bind(ids)
            .bind(conversation)
            .bind(i64::try_from(MOST + 1).unwrap_or(i64::MAX))
            .persistent(false);
        self.database.ask(question.fetch_all(&self.database.pool)).await
    }
}

/// Entries, oldest first, as trees.
fn grow(entries: Vec<HistoryEntry>) -> Vec<Caused> {
    let known: HashSet<Uuid> =
        entries.iter().flat_map(|entry| [entry.event_id, entry.command_id]).collect();
    let mut groups: Vec<Caused> = Vec::new();
    let mut at: BTreeMap<(Uuid, Option<Uuid>), usize> = BTreeMap::new();
    for entry in entries {
        let (command_id, causation_id) = (entry.command_id, entry.causation_id);
        let index = *at.entry((command_id, causation_id)).or_insert_with(|| {
            groups.push(Caused { command_id, causation_id, events: vec![], led_to: vec![] });
            groups.len() - 1
        });
        groups[index].events.push((entry, vec![]));
    }
    let (mut caused, mut roots): (BTreeMap<Uuid, Vec<Caused>>, Vec<Caused>) = Default::default();
    for group in groups {
        match group.causation_id.filter(|cause| known.contains(cause)) {
            Some(cause) => caused.entry(cause).or_default().push(group),
            None => roots.push(group),
        }
    }
    for root in &mut roots {
        attach(root, &mut caused);
    }
    // Causes that run in a circle have no root; nothing writes such, but what is there is shown.
    while let Some((_, groups)) = caused.pop_first() {
        for mut group in groups {
            attach(&mut group, &mut caused);
            roots.push(group);
        }
    }
    roots
}

/// Hangs everything below a group that it caused. Each group is taken once, so this ends.
fn attach(group: &mut Caused, caused: &mut BTreeMap<Uuid, Vec<Caused>>) {
    group.led_to = caused.remove(&group.command_id).unwrap_or_default();
    group.led_to.iter_mut().for_each(|group| attach(group, caused));
    for (entry, followed) in &mut group.events {
        *followed = caused.remove(&entry.event_id).unwrap_or_default();
        followed.iter_mut().for_each(|group| attach(group, caused));
    }
}
