//! Lines: jobs whose first attempts go one after the other, as those about one subject.
//!
//! A job in a line knows who comes next, and is not due before the first attempt of the one before it has ended; the transaction
//! that ends it lets the next one go. Whoever joins a line writes to its last job, so the two conflict rather than miss each other.
//! A job that is retried, dead or deleted holds up nobody: whoever was let go has left the line, and who waits for a job that
//! is not there any more is let go by the upkeep. Jobs in no line cost nothing for it.

use std::collections::BTreeMap;

use bson::{DateTime, Document, RawDocumentBuf, doc};
use futures_util::{StreamExt, TryStreamExt};
use mongodb::{
    ClientSession, Database,
    error::{Error, Result},
};

use super::{
    JOBS,
    model::{Job, JobState},
    store::{QueueStore, aside},
};
use crate::platform::batch::View;

/// Due time of a job that waits for another one: the end of time.
const NOT_YET: DateTime = DateTime::from_millis(253_370_764_800_000);
/// Jobs in lines that one look of the upkeep sees.
const LOOK_MAX: i64 = 1_000;

/// Lets the job go that waited for the first attempt of `ended`.
pub(super) fn release_waiting_job(view: &mut View, job_id: &str, ended: &str) {
    let now = view.now();
    let Some(mut job) = view.by_id::<Job>(job_id) else { return };
    let Some(line) = job.line.as_mut().filter(|line| line.after.as_deref() == Some(ended)) else { return };
    line.after = None;
    job.schedule(now, now);
    view.update(&job);
}

/// Inserts jobs in a transaction that is no lane's; those that are in lines, at the end of theirs. They have no dedupe key that a
/// job in the database has.
///
/// # Errors
/// What the driver says; a conflict where the end of a line has changed since the transaction began.
pub async fn insert_in_lines(db: &Database, session: &mut ClientSession, mut jobs: Vec<Job>) -> Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    let joining = link(&mut jobs);
    if !joining.is_empty() {
        let names: Vec<&str> = joining.keys().map(String::as_str).collect();
        let last = doc! { "line.name": { "$in": names }, "line.last": true };
        let lasts = db.collection::<Document>(JOBS);
        let found = lasts.find(last).projection(doc! { "line.name": 1 });
        let mut found = found.session(&mut *session).await?;
        let mut updates = Vec::new();
        let mut stream = found.stream(session);
        while let Some(last) = stream.next().await.transpose()? {
            let last_id = last.get_str("_id").unwrap_or_default();
            let name = last.get_document("line").and_then(|line| line.get_str("name")).unwrap_or_default();
            let Some(&first) = joining.get(name) else { continue };
            let first = &mut jobs[first];
            wait_for(first, last_id);
            updates.push(doc! {
                "q": { "_id": last_id, "line.last": true },
                "u": { "$set": { "line.next": &first.id }, "$unset": { "line.last": "" } },
            });
        }
        drop(stream);
        if !updates.is_empty() {
            let expected = updates.len() as i64;
            let updated = db.run_command(doc! { "update": JOBS, "updates": updates }).session(&mut *session).await?;
            let n = updated.get("n").and_then(|n| n.as_i64().or_else(|| n.as_i32().map(i64::from)));
            if n != Some(expected) {
                return Err(Error::custom(format!("{n:?} of {expected} ends of lines were there")));
            }
        }
    }
    let raw = jobs.iter().map(bson::serialize_to_raw_document_buf).collect::<bson::error::Result<Vec<_>>>()?;
    db.collection::<RawDocumentBuf>(JOBS).insert_many(raw).session(session).await.map(drop)
}

/// Links jobs of one line with each other, by their numbers; gives the first one of each line.
fn link(jobs: &mut [Job]) -> BTreeMap<String, usize> {
    let mut lines: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, job) in jobs.iter().enumerate() {
        if let Some(line) = &job.line {
            lines.entry(line.name.clone()).or_default().push(index);
        }
    }
    let mut firsts = BTreeMap::new();
    for (name, mut places) in lines {
        places.sort_by_key(|&index| jobs[index].line.as_ref().map(|line| line.seq));
        for pair in places.windows(2) {
            let (before_id, next_id) = (jobs[pair[0]].id.clone(), jobs[pair[1]].id.clone());
            if let Some(line) = &mut jobs[pair[0]].line {
                line.next = Some(next_id);
                line.last = false;
            }
            wait_for(&mut jobs[pair[1]], &before_id);
        }
        firsts.extend(places.first().map(|&first| (name, first)));
    }
    firsts
}

fn wait_for(job: &mut Job, before_id: &str) {
    if let Some(line) = &mut job.line {
        line.after = Some(before_id.to_owned());
    }
    job.run_at = NOT_YET;
    job.turn = None;
}

impl QueueStore {
    /// Lets those go who wait in a line of `queue` for a job that was deleted, or is none any more; gives how many, and where the
    /// next look begins: at the beginning again, or behind the last one seen.
    ///
    /// # Errors
    /// Errors of the database driver.
    pub(super) async fn release_stranded(
        &self,
        queue: &str,
        behind: &str,
        now: DateTime,
    ) -> Result<(u64, Option<String>)> {
        let jobs = self.db.collection::<Document>(JOBS);
        let mut waiting = aside(queue, JobState::Ready);
        waiting.extend(doc! { "_id": { "$gt": behind }, "line.after": { "$type": "string" } });
        let found = jobs.find(waiting).projection(doc! { "line.after": 1 }).sort(doc! { "_id": 1 });
        let found: Vec<Document> = found.limit(LOOK_MAX).await?.try_collect().await?;
        if found.is_empty() {
            return Ok((0, None));
        }
        let go_on = (found.len() as i64 == LOOK_MAX)
            .then(|| found.last().and_then(|job| job.get_str("_id").ok()).map(str::to_owned))
            .flatten();
        let mut pairs: BTreeMap<String, String> = BTreeMap::new();
        for job in &found {
            let before_id = job.get_document("line").and_then(|line| line.get_str("after"));
            if let (Ok(id), Ok(before_id)) = (job.get_str("_id"), before_id) {
                pairs.insert(before_id.to_owned(), id.to_owned());
            }
        }
        let before: Vec<&str> = pairs.keys().map(String::as_str).collect();
        let there = jobs.find(doc! { "_id": { "$in": before } }).projection(doc! { "line.next": 1 }).await?;
        let there: Vec<Document> = there.try_collect().await?;
        for job in there {
            let id = job.get_str("_id").unwrap_or_default();
            let next = job.get_document("line").ok().and_then(|line| line.get_str("next").ok());
            if next.is_some() && next == pairs.get(id).map(String::as_str) {
                pairs.remove(id);
            }
        }
        let mut freed = 0;
        for (before_id, id) in pairs {
            let stranded = doc! { "_id": id, "state": "ready", "line.after": before_id };
            let go = doc! { "$set": { "runAt": now, "turn": { "$ifNull": ["$owner", ""] } } };
            freed += self.update_jobs(stranded, vec![go, doc! { "$unset": "line.after" }]).await?;
        }
        Ok((freed, go_on))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::queue::{JobEnd, JobError, QueueConfig, settle_job};

    const NOW: DateTime = DateTime::from_millis(1_000);

    fn job(id: &str, line: &str, seq: i64) -> Job {
        let queue = QueueConfig::named("q");
        Job::new(id.into(), &queue, "kind", doc! {}, "rqs_1", NOW).owned_by("usr_1").in_line(line.into(), seq)
    }

    fn place(job: &Job) -> (Option<&str>, Option<&str>, bool) {
        let line = job.line.as_ref().expect("in a line");
        (line.after.as_deref(), line.next.as_deref(), line.last)
    }

    #[test]
    fn jobs_of_a_line_wait_for_each_other_by_their_numbers() {
        let mut jobs = vec![job("b", "one", 2), job("x", "two", 1), job("c", "one", 3), job("a", "one", 1)];
        assert_eq!(link(&mut jobs), BTreeMap::from([("one".to_owned(), 3), ("two".to_owned(), 1)]));
        assert_eq!(place(&jobs[3]), (None, Some("b"), false));
        assert_eq!(place(&jobs[0]), (Some("a"), Some("c"), false));
        assert_eq!(place(&jobs[2]), (Some("b"), None, true));
        assert_eq!(place(&jobs[1]), (None, None, true));
        let due = |job: &Job| job.turn.is_some() && job.run_at == NOW;
        assert_eq!(jobs.iter().map(due).collect::<Vec<_>>(), [false, true, false, true]);
    }

    #[test]
    fn however_a_first_attempt_ends_the_next_one_is_due() {
        let error = JobError::new("retryable", "a.b", "c");
        let later = DateTime::from_millis(9_000);
        for end in [
            JobEnd::Done { result: None },
            JobEnd::Dead { error: error.clone() },
            JobEnd::Retry { at: later, error: Some(error), counts: true },
            JobEnd::Next { at: later },
        ] {
            let mut jobs = vec![job("a", "one", 1), job("b", "one", 2)];
            link(&mut jobs);
            jobs[0].state = JobState::Active;
            let mut view = View::new(NOW);
            jobs.iter().for_each(|job| view.put_read(job));
            settle_job(&mut view, jobs[0].clone(), &end);
            let (ended, next) = (view.by_id::<Job>("a").expect("a"), view.by_id::<Job>("b").expect("b"));
            assert_eq!(ended.line, None, "it has left the line");
            assert_eq!((place(&next), next.run_at, next.turn.as_deref()), ((None, None, true), NOW, Some("usr_1")));
        }
    }

    #[test]
    fn who_waits_for_another_or_is_gone_is_left_alone() {
        let mut jobs = vec![job("a", "one", 1), job("b", "one", 2)];
        link(&mut jobs);
        let mut view = View::new(NOW);
        view.put_read(&jobs[1]);
        view.put_absent(crate::platform::batch::Key::id(JOBS, "c"));
        release_waiting_job(&mut view, "b", "z");
        release_waiting_job(&mut view, "c", "a");
        assert_eq!(view.by_id::<Job>("b").as_ref(), Some(&jobs[1]));
    }
}
