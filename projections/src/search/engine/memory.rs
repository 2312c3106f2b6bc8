//! An exact scan over vectors in memory.
//!
//! A chunk takes 4 bytes per dimension (1,536 for 384), and 200 to 400 for where it stands and what it is filtered by: 1.7 to 1.95 kB,
//! and up to 195 MB for 100,000 chunks. Room for a thousand is taken at once. The scan is bound by memory: 5 ms for 100,000 vectors on
//! one core at 33 GB/s, which is why it neither quantises nor indexes. The loop is written so that the compiler vectorises it for any
//! processor.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use domain::RecordRef;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Engine, EngineError, Held, Near, Place, Point, Set, TextDigest};
use crate::search::Language;
use crate::search::filter::{Filter, Filtered};

/// The engine. Clones share it.
#[derive(Clone, Default)]
pub struct Memory {
    sets: Arc<RwLock<Sets>>,
}

#[derive(Default)]
struct Sets {
    points: HashMap<i32, Points>,
    /// Which set answers for a model.
    published: HashMap<i32, i32>,
}

/// How many vectors are in a block.
const BLOCK: usize = 1_024;

/// The points of one set. Deleted ones are overwritten by the last, so that there are no gaps.
struct Points {
    dimensions: usize,
    /// One after the other, in blocks of [`BLOCK`], of which only the last has room: what is there need not move when others come.
    vectors: Vec<Vec<f32>>,
    /// To each vector what it is.
    labels: Vec<Label>,
    /// Which vectors a record has; seldom more than a few dozen.
    of_record: HashMap<RecordRef, Vec<u32>>,
}

struct Label {
    place: Place,
    digest: TextDigest,
    version: i64,
    date: Option<DateTime<Utc>>,
    language: Option<Language>,
    about: Box<[RecordRef]>,
    is_brief: bool,
}

impl Label {
    fn filtered(&self) -> Filtered<'_> {
        let Self { place, date, language, about, is_brief, .. } = self;
        let (record, is_brief) = (place.record, *is_brief);
        Filtered { record, about, date: *date, language: *language, is_brief }
    }
}

impl Points {
    fn new(dimensions: usize) -> Self {
        Self { dimensions, vectors: vec![], labels: vec![], of_record: HashMap::new() }
    }

    fn vector_at(&mut self, at: usize) -> &mut [f32] {
        let start = at % BLOCK * self.dimensions;
        &mut self.vectors[at / BLOCK][start..start + self.dimensions]
    }

    fn find(&self, place: &Place) -> Option<usize> {
        let candidates = self.of_record.get(&place.record)?;
        candidates.iter().map(|at| *at as usize).find(|at| self.labels[*at].place == *place)
    }

    fn write(&mut self, point: &Point) -> Result<(), EngineError> {
        if point.vector.len() != self.dimensions {
            return Err(EngineError::Rejected(format!(
                "a vector of {} numbers does not fit among vectors of {}",
                point.vector.len(),
                self.dimensions
            )));
        }
        let label = Label {
            place: point.place.clone(),
            digest: point.digest,
            version: point.version,
            date: point.date,
            language: point.language,
            about: point.about.clone().into_boxed_slice(),
            is_brief: point.is_brief,
        };
        match self.find(&point.place) {
            Some(at) if self.labels[at].version > point.version => {}
            Some(at) => {
                self.vector_at(at).copy_from_slice(&point.vector);
                self.labels[at] = label;
            }
            None => self.add(point, label)?,
        }
        Ok(())
    }

    fn add(&mut self, point: &Point, label: Label) -> Result<(), EngineError> {
        let at = u32::try_from(self.labels.len()).map_err(|_| {
            EngineError::Rejected("more than four thousand million points".to_owned())
        })?;
        self.of_record.entry(point.place.record).or_default().push(at);
        match self.vectors.last_mut().filter(|_| !self.labels.len().is_multiple_of(BLOCK)) {
            Some(block) => block.extend_from_slice(&point.vector),
            None => {
                let mut block = Vec::with_capacity(BLOCK * self.dimensions);
                block.extend_from_slice(&point.vector);
                self.vectors.push(block);
            }
        }
        self.labels.push(label);
        Ok(())
    }

    fn delete_older(&mut self, record: RecordRef, version: i64) {
        let older = |points: &Self| {
            let own = points.of_record.get(&record)?;
            own.iter().map(|at| *at as usize).find(|at| points.labels[*at].version < version)
        };
        while let Some(at) = older(self) {
            self.remove(at);
        }
    }

    /// Removes a point and puts the last one in its place.
    fn remove(&mut self, at: usize) {
        let last = self.labels.len() - 1;
        let removed = self.labels.swap_remove(at);
        let vector = self.vector_at(last).to_vec();
        match last % BLOCK {
            0 => drop(self.vectors.pop()),
            before => self.vectors[last / BLOCK].truncate(before * self.dimensions),
        }
        if at < last {
            self.vector_at(at).copy_from_slice(&vector);
            let moved = self.labels[at].place.record;
            for known in self.of_record.get_mut(&moved).into_iter().flatten() {
                if *known as usize == last {
                    *known = at as u32;
                }
            }
        }
        let record = removed.place.record;
        if let Some(own) = self.of_record.get_mut(&record) {
            // When the moved one is of the same record, its entry reads `at` by now as well: one of the two goes.
            if let Some(entry) = own.iter().position(|known| *known as usize == at) {
                own.swap_remove(entry);
            }
            if own.is_empty() {
                self.of_record.remove(&record);
            }
        }
    }

    fn nearest(&self, vector: &[f32], filter: &Filter, limit: usize) -> Vec<Near> {
        let all = filter.is_empty();
        let mut best: Vec<(f32, usize)> = Vec::with_capacity(2 * limit + 1);
        let mut least = f32::NEG_INFINITY;
        let vectors = self.vectors.iter().flat_map(|block| block.chunks_exact(self.dimensions));
        for (at, candidate) in vectors.enumerate() {
            let label = &self.labels[at];
            let is_out = if all { label.is_brief } else { !filter.admits(label.filtered()) };
            if is_out {
                continue;
            }
            let score = dot(candidate, vector);
            if score > least || best.len() < limit {
                best.push((score, at));
                if best.len() > 2 * limit {
                    least = self.keep_best(&mut best, limit);
                }
            }
        }
        self.keep_best(&mut best, limit);
        let near = |(score, at): (f32, usize)| {
            let Label { place, digest, .. } = &self.labels[at];
            Near { place: place.clone(), digest: *digest, score }
        };
        best.into_iter().map(near).collect()
    }

    /// Sorts by score, what is equal by place, and drops all beyond the limit; tells the lowest score that is left.
    fn keep_best(&self, best: &mut Vec<(f32, usize)>, limit: usize) -> f32 {
        best.sort_unstable_by(|(a, at), (b, other)| match b.total_cmp(a) {
            Ordering::Equal => self.labels[*at].place.cmp(&self.labels[*other].place),
            order => order,
        });
        best.truncate(limit);
        best.last().map_or(f32::NEG_INFINITY, |(score, _)| *score)
    }

    fn list(&self) -> Vec<Held> {
        let held = |label: &Label| Held {
            place: label.place.clone(),
            version: label.version,
            digest: label.digest,
        };
        let mut list: Vec<Held> = self.labels.iter().map(held).collect();
        list.sort_unstable();
        list
    }
}

/// The scalar product, in lanes that the compiler turns into whatever vector instructions there are.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0f32; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + rest
}

impl Memory {
    fn read<T>(&self, of: impl FnOnce(&Sets) -> T) -> T {
        of(&self.sets.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, with: impl FnOnce(&mut Sets) -> T) -> T {
        with(&mut self.sets.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn in_set<T>(&self, set: &Set, with: impl FnOnce(&mut Points) -> T) -> Result<T, EngineError> {
        self.change(|sets| match sets.points.get_mut(&set.id) {
            Some(points) => Ok(with(points)),
            None => Err(missing(set.id)),
        })
    }
}

fn missing(set: i32) -> EngineError {
    EngineError::Missing(format!("set {set}"))
}

fn unpublished() -> EngineError {
    EngineError::Missing("a whole set of this model yet".to_owned())
}

impl Engine for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn is_of_this_process(&self) -> bool {
        true
    }

    fn prepare<'a>(&'a self, set: &'a Set) -> BoxFuture<'a, Result<bool, EngineError>> {
        let was_there = self.change(|sets| {
            let was_there = sets.points.contains_key(&set.id);
            sets.points.entry(set.id).or_insert_with(|| Points::new(set.dimensions));
            was_there
        });
        std::future::ready(Ok(was_there)).boxed()
    }

    fn upsert<'a>(
        &'a self,
        set: &'a Set,
        points: &'a [Point],
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        let written =
            self.in_set(set, |own| points.iter().try_for_each(|point| own.write(point))).flatten();
        std::future::ready(written).boxed()
    }

    fn delete_older<'a>(
        &'a self,
        set: &'a Set,
        records: &'a [(RecordRef, i64)],
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        let deleted = self.in_set(set, |points| {
            records.iter().for_each(|(record, version)| points.delete_older(*record, *version));
        });
        std::future::ready(deleted).boxed()
    }

    fn publish<'a>(&'a self, set: &'a Set) -> BoxFuture<'a, Result<(), EngineError>> {
        let published = self.in_set(set, |_| ()).map(|()| {
            self.change(|sets| sets.published.insert(set.model, set.id));
        });
        std::future::ready(published).boxed()
    }

    fn nearest<'a>(
        &'a self,
        model: i32,
        vector: &'a [f32],
        filter: &'a Filter,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Near>, EngineError>> {
        let (memory, vector, filter) = (self.clone(), vector.to_vec(), filter.clone());
        let scan = move || {
            memory.read(|sets| {
                let set = *sets.published.get(&model).ok_or_else(unpublished)?;
                let points = sets.points.get(&set).ok_or_else(|| missing(set))?;
                if vector.len() != points.dimensions {
                    return Err(EngineError::Rejected(format!(
                        "a question of {} numbers cannot be compared with vectors of {}",
                        vector.len(),
                        points.dimensions
                    )));
                }
                Ok(points.nearest(&vector, &filter, limit))
            })
        };
        let scanned = tokio::task::spawn_blocking(scan);
        async move {
            scanned.await.unwrap_or_else(|error| {
                Err(EngineError::Unavailable(format!("the scan came to nothing: {error}")))
            })
        }
        .boxed()
    }

    fn count<'a>(&'a self, set: &'a Set) -> BoxFuture<'a, Result<u64, EngineError>> {
        let count = self.in_set(set, |points| points.labels.len() as u64);
        std::future::ready(count).boxed()
    }

    fn list<'a>(&'a self, set: &'a Set) -> BoxFuture<'a, Result<Vec<Held>, EngineError>> {
        std::future::ready(self.in_set(set, |points| points.list())).boxed()
    }

    fn forget<'a>(&'a self, set: &'a Set) -> BoxFuture<'a, Result<(), EngineError>> {
        self.change(|sets| {
            sets.points.remove(&set.id);
            sets.published.retain(|_, published| *published != set.id);
        });
        std::future::ready(Ok(())).boxed()
    }
}

#[cfg(test)]
mod tests {
    use domain::Kind;

    use super::super::super::Part;
    use super::*;

    fn point(number: i64) -> Point {
        let angle = number as f32 * 2.399_963;
        let place = Place {
            record: Kind::Note.record(number / 2),
            part: Part::Text,
            ordinal: (number % 2) as i32,
        };
        let (digest, vector) = (TextDigest([0; 16]), vec![angle.cos(), angle.sin()]);
        let (date, language, about, is_brief) = (None, None, vec![], false);
        Point { place, digest, version: 1, vector, date, language, about, is_brief }
    }

    #[test]
    fn whatever_is_deleted_the_others_keep_their_vectors() {
        let mut points = Points::new(2);
        let all = 2 * BLOCK as i64 + 2;
        (0..all).for_each(|number| points.write(&point(number)).unwrap());
        // Over the ends of blocks, down to less than one.
        let mut left: Vec<i64> = (0..all).collect();
        for round in [3, 2, 5] {
            let goes = |number: &i64| number / 2 % round == 0;
            left.iter().filter(|number| goes(number)).for_each(|number| {
                points.delete_older(Kind::Note.record(number / 2), 2);
            });
            left.retain(|number| !goes(number));
            assert_eq!(points.labels.len(), left.len());
            let vectors: usize = points.vectors.iter().map(|block| block.len() / 2).sum();
            assert_eq!(vectors, left.len());
            for number in left.iter().step_by(7) {
                let Point { place, vector, .. } = point(*number);
                let nearest = points.nearest(&vector, &Filter::default(), 1);
                assert_eq!(nearest[0].place, place);
            }
        }
        assert!(left.len() < BLOCK);
        left.iter().for_each(|number| points.delete_older(Kind::Note.record(number / 2), 2));
        assert!(points.vectors.is_empty() && points.of_record.is_empty());
    }
}
