//! The orders of a day, by mail, to those who have asked for it: merchants theirs, managers those of their tenant's members. A
//! schedule makes a job for each reader; what a job sends is one mail of its day and reader, however often it is made.

use async_trait::async_trait;
use bson::{DateTime, Document, doc};
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use mongodb::Database;
use serde_json::json;

use super::{
    attempt::MailAborted,
    facts::away,
    letters::DAILY_ORDERS,
    mailer::{Mail, Mailer, mail_id},
    message::Attachment,
    recipient::To,
};
use crate::{
    modules::{
        auth::{User, find_user, users_who_want_reports},
        events::{HandlerAttempt, HandlerError, end_of, retry_of},
        orders::{Order, OrderFilter, OrderStore},
        queue::{Alone, Attempt, Conclusion, Job, JobError, JobHandler, Lease, QueueConfig, RetryRefused, Waker},
    },
    platform::{
        batch::{Command, Key, Lane, View},
        cells::{Rows, decimal, number, text, time},
        clock::Clock,
        identity::{Actor, Role},
        ids::new_id,
        walk::TimeRange,
    },
};

/// Kind of the jobs that send a day's orders to somebody.
pub const SEND_REPORT_KIND: &str = "send-report";
/// Readers for whom jobs are made in one transaction.
const READERS_AT_ONCE: usize = 500;
/// Orders read at a time.
const ORDERS_AT_ONCE: usize = 500;
/// Orders in one file; who has more asks the API.
const ROWS_MAX: usize = 10_000;
/// Bytes of one file, before it is encoded for the mail.
const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
const COLUMNS: [&str; 9] =
    ["orderNumber", "clientOrderId", "provider", "status", "createdAt", "chargeMinor", "charge", "currency", "userId"];

/// Makes the jobs of a day.
pub struct DailyOrders {
    /// Where readers are found.
    pub db: Database,
    /// Where jobs are made.
    pub lane: Lane,
    /// Time.
    pub clock: Clock,
    /// Whose days.
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

impl DailyOrders {
    /// Makes a job for everybody who wants yesterday's orders. Safe to repeat.
    ///
    /// # Errors
    /// In a sentence.
    pub async fn make_jobs(&self) -> Result<Document, String> {
        let day = Day::before(self.clock.now(), &self.zone).ok_or("SCHEDULE_TIMEZONE is no time zone.")?;
        let (mut after, mut readers, mut made) = (String::new(), 0, 0);
        loop {
            let found = users_who_want_reports(&self.db, &after, READERS_AT_ONCE);
            let found = found.await.map_err(|error| error.to_string())?;
            let Some(last) = found.last() else { break };
            after.clone_from(&last.id);
            readers += found.len();
            let jobs = found.iter().map(|user| self.job(&day, user)).collect();
            let submitted = self.lane.submit(MakeJobs { jobs }).await;
            made += submitted.map_err(|error| format!("Jobs could not be made: {error}"))?;
            self.waker.wake(self.queue.name);
        }
        Ok(doc! { "day": day.name, "readers": readers as i64, "jobs": made as i64 })
    }

    fn job(&self, day: &Day, user: &User) -> Job {
        let payload = doc! { "userId": &user.id, "day": &day.name, "from": day.from, "to": day.to, "zone": &self.zone };
        let now = self.clock.now();
        let id = new_id("job");
        let job = Job::new(id.clone(), &self.queue, SEND_REPORT_KIND, payload, &id, now);
        Job { dedupe_key: Some(format!("{SEND_REPORT_KIND}:{}:{}", day.name, user.id)), ..job.owned_by(&user.id) }
    }
}

/// Sends a day's orders to somebody.
pub struct SendReport {
    /// Sends.
    pub mailer: Mailer,
    /// Where users are read.
    pub db: Database,
    /// Where orders are.
    pub orders: OrderStore,
    /// [`super::MAIL_QUEUE`].
    pub queue: QueueConfig,
    /// Time.
    pub clock: Clock,
}

/// What a job is about.
struct Wanted {
    user_id: String,
    day: String,
    zone: String,
    created: TimeRange,
}

impl Wanted {
    fn of(job: &Job) -> Option<Self> {
        let text = |name| job.payload.get_str(name).ok().map(str::to_owned);
        let at = |name| job.payload.get_datetime(name).ok().copied();
        let created = TimeRange { from: Some(at("from")?), to: Some(at("to")?) };
        Some(Self { user_id: text("userId")?, day: text("day")?, zone: text("zone")?, created })
    }

    /// What makes it this mail and no other.
    fn occasion(&self) -> String {
        format!("{}.{}", self.day, self.user_id)
    }
}

/// Orders as a file.
struct Written {
    rows: Rows,
    count: usize,
    bytes: usize,
    /// There are more.
    is_cut: bool,
}

impl Written {
    fn nothing() -> std::io::Result<Self> {
        let mut rows = Rows::new();
        rows.add_header(COLUMNS)?;
        Ok(Self { rows, count: 0, bytes: 0, is_cut: false })
    }

    /// Adds an order, unless the file is full.
    fn add(&mut self, order: &Order) -> std::io::Result<()> {
        let charge = order.charge;
        let cells = [
            text(&order.order_number),
            text(&order.client_order_id),
            text(&order.provider),
            order.status.as_str().into(),
            time(order.created_at),
            charge.map_or_else(|| "".into(), |charge| number(charge.amount)),
            charge.map_or_else(|| "".into(), |charge| decimal(charge.amount, charge.currency)),
            charge.map_or("", |charge| charge.currency.code()).into(),
            text(&order.user_id),
        ];
        let bytes: usize = cells.iter().map(|cell| cell.len() + 3).sum();
        if self.count == ROWS_MAX || self.bytes + bytes > FILE_BYTES_MAX {
            self.is_cut = true;
            return Ok(());
        }
        self.count += 1;
        self.bytes += bytes;
        self.rows.add(cells)
    }
}

fn unwritten(error: &std::io::Error) -> HandlerError {
    HandlerError::Invalid { code: "mail.unwritten", message: format!("The file can't be written: {error}") }
}

impl SendReport {
    async fn orders_of(&self, user: &User, created: TimeRange) -> Result<Written, HandlerError> {
        let filter = OrderFilter { created, ..OrderFilter::default() };
        let mut written = Written::nothing().map_err(|error| unwritten(&error))?;
        let tenant_id = user.tenant_id.as_deref().filter(|_| user.role == Role::Manager);
        if tenant_id.is_none() && user.role != Role::Merchant {
            return Ok(written);
        }
        let mut before: Option<String> = None;
        loop {
            let page = match tenant_id {
                Some(tenant_id) => {
                    self.orders.list_of_tenant(tenant_id, &filter, before.as_deref(), ORDERS_AT_ONCE).await
                }
                None => self.orders.list(&user.id, &filter, before.as_deref(), ORDERS_AT_ONCE).await,
            };
            let page = page.map_err(|error| away(&error))?;
            for order in &page.shown {
                written.add(order).map_err(|error| unwritten(&error))?;
            }
            before = page.next;
            if before.is_none() || written.is_cut {
                return Ok(written);
            }
        }
    }

    async fn send(&self, wanted: &Wanted, attempt: &HandlerAttempt<'_>) -> Result<(), HandlerError> {
        let user = find_user(&self.db, &wanted.user_id).await.map_err(|error| away(&error))?;
        let Some(user) = user else { return Ok(()) };
        let Written { rows, count, is_cut, .. } = self.orders_of(&user, wanted.created).await?;
        if count == 0 {
            return Ok(()); // a day without orders is no news
        }
        let content = rows.into_bytes().map_err(|error| unwritten(&error))?.to_vec();
        let mail = Mail {
            letter: &DAILY_ORDERS,
            occasion: &wanted.occasion(),
            to: To::User(&wanted.user_id),
            subject_id: "",
            values: json!({
                "day": wanted.day, "zone": wanted.zone, "count": count, "cut": is_cut,
                "ofTenant": user.role == Role::Manager,
            }),
            attachment: Some(Attachment {
                name: format!("orders-{}.csv", wanted.day),
                content_type: "text/csv; charset=utf-8",
                content,
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
        let Some(wanted) = Wanted::of(job) else {
            let reason = "The payload has no userId, or no day.";
            return Attempt::Failed(JobError::new("payload", "queue.unreadable_payload", reason));
        };
        let sent = self.send(&wanted, &HandlerAttempt { job, lease }).await;
        Attempt::Concluded(Box::new(Alone(end_of(&self.queue, job, sent, self.clock.now()))))
    }

    fn failed(&self, job: &Job, error: JobError) -> Option<Box<dyn Conclusion>> {
        let wanted = Wanted::of(job)?;
        let end = retry_of(&self.queue, job, error, None, self.clock.now());
        let mail_id = mail_id(&wanted.occasion(), &DAILY_ORDERS);
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
