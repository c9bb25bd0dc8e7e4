//! Reports of a day, by mail, to those who have asked for them. A schedule makes a job for each reader; what a job sends is one
//! mail of its report, day and reader, however often it is made.

use async_trait::async_trait;
use bson::{DateTime, Document, doc};
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use mongodb::Database;
use serde_json::json;

use super::{
    attempt::MailAborted,
    letter_data::away,
    letters::{DAILY_ORDERS, DAILY_STOCK, Letter},
    mailer::{Mail, Mailer, mail_id},
    message::Attachment,
    recipient::Addressee,
    report_orders, report_stock,
};
use crate::{
    modules::{
        auth::{User, find_user, users_who_want_reports},
        catalog::CatalogStore,
        events::{HandlerAttempt, HandlerError, end_of, retry_of},
        orders::OrderStore,
        queue::{Attempt, Conclusion, EndOnly, Job, JobError, JobHandler, Lease, QueueConfig, RetryRefused, Waker},
    },
    platform::{
        batch::{Command, Key, Lane, View},
        clock::Clock,
        identity::{Actor, Role},
        ids::new_id,
        walk::TimeRange,
    },
};

/// Kind of the jobs that send a report to somebody.
pub const SEND_REPORT_KIND: &str = "send-report";
/// Readers for whom jobs are made in one transaction.
const READERS_AT_ONCE: usize = 500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportKind {
    Orders,
    /// Stock, and what moved it.
    Stock,
}

impl ReportKind {
    const ALL: [Self; 2] = [Self::Orders, Self::Stock];

    /// As in jobs.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Stock => "stock",
        }
    }

    const fn letter(self) -> &'static Letter {
        match self {
            Self::Orders => &DAILY_ORDERS,
            Self::Stock => &DAILY_STOCK,
        }
    }
}

/// Makes the jobs of a day.
#[derive(Clone)]
pub struct DailyReports {
    /// Where readers are found.
    pub db: Database,
    /// Where jobs are made.
    pub lane: Lane,
    pub clock: Clock,
    pub zone: String,
    /// [`super::MAIL_QUEUE`].
    pub queue: QueueConfig,
    /// Wakes it.
    pub waker: Waker,
}

/// A day, from its first moment to that of the next.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Day {
    /// `2026-01-31`
    name: String,
    from: DateTime,
    to: DateTime,
}

impl Day {
    /// The one before that of `now`, in a time zone; none where there is no such zone.
    fn before(now: DateTime, zone: &str) -> Option<Self> {
        let zone = TimeZone::get(zone).ok()?;
        let today = Timestamp::from_millisecond(now.timestamp_millis()).ok()?.to_zoned(zone.clone()).date();
        let yesterday = today.checked_sub(1.day()).ok()?;
        let start = |day: jiff::civil::Date| {
            let start = day.to_zoned(zone.clone()).ok()?.timestamp();
            Some(DateTime::from_millis(start.as_millisecond()))
        };
        Some(Self { name: yesterday.to_string(), from: start(yesterday)?, to: start(today)? })
    }
}

/// Inserts jobs, but for those that are there.
struct MakeJobs {
    jobs: Vec<Job>,
}

fn keys(jobs: &[Job]) -> impl Iterator<Item = Key> {
    jobs.iter().filter_map(|job| Some(Job::dedupe(&job.queue, job.dedupe_key.as_deref()?)))
}

impl Command for MakeJobs {
    /// How many were made.
    type Reply = usize;

    fn reads(&self) -> Vec<Key> {
        keys(&self.jobs).collect()
    }

    fn decide(&self, view: &mut View) -> usize {
        let mut made = 0;
        for (job, key) in self.jobs.iter().zip(keys(&self.jobs)) {
            if !view.contains(&key) {
                view.insert(job);
                made += 1;
            }
        }
        made
    }
}

impl DailyReports {
    /// Makes a job for everybody who wants yesterday's report. Safe to repeat.
    ///
    /// # Errors
    /// In a sentence.
    pub async fn make_jobs(&self, report: ReportKind) -> Result<Document, String> {
        let day = Day::before(self.clock.now(), &self.zone).ok_or("SCHEDULE_TIMEZONE is no time zone.")?;
        let (mut after, mut readers, mut made) = (String::new(), 0, 0);
        loop {
            let found = users_who_want_reports(&self.db, &after, READERS_AT_ONCE);
            let found = found.await.map_err(|error| error.to_string())?;
            let Some(last) = found.last() else { break };
            after.clone_from(&last.id);
            readers += found.len();
            let jobs = found.iter().map(|user| self.job(report, &day, user)).collect();
            let submitted = self.lane.submit(MakeJobs { jobs }).await;
            made += submitted.map_err(|error| format!("Jobs could not be made: {error}"))?;
            self.waker.wake(self.queue.name);
        }
        Ok(doc! { "day": day.name, "readers": readers as i64, "jobs": made as i64 })
    }

    fn job(&self, report: ReportKind, day: &Day, user: &User) -> Job {
        let report = report.as_str();
        let payload = doc! {
            "report": report, "userId": &user.id, "day": &day.name, "from": day.from, "to": day.to, "zone": &self.zone,
        };
        let now = self.clock.now();
        let id = new_id("job");
        let job = Job::new(id.clone(), &self.queue, SEND_REPORT_KIND, payload, &id, now);
        Job {
            dedupe_key: Some(format!("{SEND_REPORT_KIND}:{report}:{}:{}", day.name, user.id)),
            ..job.owned_by(&user.id)
        }
    }
}

pub struct SendReport {
    pub mailer: Mailer,
    /// Where users are read.
    pub db: Database,
    pub orders: OrderStore,
    pub catalog: CatalogStore,
    /// [`super::MAIL_QUEUE`].
    pub queue: QueueConfig,
    pub clock: Clock,
}

struct ReportRequest {
    report: ReportKind,
    user_id: String,
    day: String,
    zone: String,
    from: DateTime,
    to: DateTime,
}

impl ReportRequest {
    fn of(job: &Job) -> Option<Self> {
        let text = |name| job.payload.get_str(name).ok().map(str::to_owned);
        let at = |name| job.payload.get_datetime(name).ok().copied();
        // Jobs from before there were others are about orders.
        let named = job.payload.get_str("report").unwrap_or(ReportKind::Orders.as_str());
        let report = ReportKind::ALL.into_iter().find(|report| report.as_str() == named)?;
        let (from, to) = (at("from")?, at("to")?);
        Some(Self { report, user_id: text("userId")?, day: text("day")?, zone: text("zone")?, from, to })
    }

    /// Makes the mail unique.
    fn occasion(&self) -> String {
        format!("{}.{}", self.day, self.user_id)
    }
}

impl SendReport {
    async fn send(&self, wanted: &ReportRequest, attempt: &HandlerAttempt<'_>) -> Result<(), HandlerError> {
        let ReportRequest { report, user_id, day, zone, from, to } = wanted;
        let user = find_user(&self.db, user_id).await.map_err(|error| away(&error))?;
        let Some(user) = user else { return Ok(()) };
        let mut values = json!({ "day": day, "zone": zone });
        let file = match report {
            ReportKind::Orders => {
                let created = TimeRange { from: Some(*from), to: Some(*to) };
                values["ofTenant"] = (user.role == Role::Manager).into();
                report_orders::write(&self.orders, &user, created).await?
            }
            ReportKind::Stock => {
                let written = report_stock::write(&self.catalog, &user, (*from, *to)).await?;
                values["low"] = written.low.into();
                values["partial"] = written.is_partial.into();
                written.file
            }
        };
        if file.count() == 0 {
            return Ok(()); // a day without orders, and a shop without products, are no news
        }
        values["count"] = file.count().into();
        values["cut"] = file.is_cut().into();
        let mail = Mail {
            letter: report.letter(),
            occasion: &wanted.occasion(),
            to: Addressee::User(user_id),
            subject_id: "",
            values,
            attachment: Some(Attachment {
                name: format!("{}-{day}.csv", report.as_str()),
                content_type: "text/csv; charset=utf-8",
                content: file.into_bytes()?.to_vec(),
            }),
        };
        self.mailer.send(mail, attempt).await
    }
}

#[async_trait]
impl JobHandler for SendReport {
    fn kind(&self) -> &'static str {
        SEND_REPORT_KIND
    }

    fn queue(&self) -> &'static str {
        self.queue.name
    }

    async fn run(&self, job: &Job, lease: &Lease) -> Attempt {
        let Some(wanted) = ReportRequest::of(job) else {
            let reason = "The payload has no userId, or no day.";
            return Attempt::Failed(JobError::new("payload", "queue.unreadable_payload", reason));
        };
        let sent = self.send(&wanted, &HandlerAttempt { job, lease }).await;
        Attempt::Concluded(Box::new(EndOnly(end_of(&self.queue, job, sent, self.clock.now()))))
    }

    fn failed(&self, job: &Job, error: JobError) -> Option<Box<dyn Conclusion>> {
        let wanted = ReportRequest::of(job)?;
        let end = retry_of(&self.queue, job, error, None, self.clock.now());
        let mail_id = mail_id(&wanted.occasion(), wanted.report.letter());
        Some(Box::new(MailAborted { mail_id, end, closing_response_id: new_id("res") }))
    }

    fn revive(&self, _: &mut View, _: &Job, _: &Actor, _: &str) -> Result<(), RetryRefused> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime {
        DateTime::parse_rfc3339_str(text).expect("a time")
    }

    #[test]
    fn a_day_is_the_zones_also_where_it_has_23_hours() {
        let day = |now, zone| Day::before(at(now), zone).expect("a day");
        let expected = |name: &str, from, to| Day { name: name.into(), from: at(from), to: at(to) };
        assert_eq!(
            day("2026-02-01T03:00:00Z", "UTC"),
            expected("2026-01-31", "2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z")
        );
        assert_eq!(
            day("2026-01-31T20:00:00Z", "Asia/Kolkata"),
            expected("2026-01-31", "2026-01-30T18:30:00Z", "2026-01-31T18:30:00Z")
        );
        // Berlin's clocks go forward on 29 March 2026.
        assert_eq!(
            day("2026-03-30T06:00:00Z", "Europe/Berlin"),
            expected("2026-03-29", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z")
        );
        assert_eq!(Day::before(at("2026-01-01T00:00:00Z"), "Mars/Olympus"), None);
    }

    #[test]
    fn a_reader_has_one_job_at_a_time() {
        let queue = QueueConfig::named("mail-queue");
        let job = |id: &str, key: &str| {
            let job = Job::new(id.into(), &queue, SEND_REPORT_KIND, doc! {}, "rqs_1", DateTime::from_millis(0));
            Job { dedupe_key: Some(key.into()), ..job }
        };
        let mut view = View::new(DateTime::from_millis(0));
        for key in ["a", "b", "c"] {
            view.put_absent(Job::dedupe("mail-queue", key));
        }
        let first = MakeJobs { jobs: vec![job("job_1", "a"), job("job_2", "b")] };
        assert_eq!(first.decide(&mut view), 2);
        let again = MakeJobs { jobs: vec![job("job_3", "a"), job("job_4", "c")] };
        assert_eq!(again.decide(&mut view), 1, "only who has none yet");
    }
}
