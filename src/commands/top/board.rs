//! State of the board, and the effect of keys. Pure, but for the time between two reads.

use std::{collections::HashMap, time::Instant};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::Value;

/// A rate follows the latest look by this part.
const SMOOTHING: f64 = 0.3;

#[derive(Clone, Debug, Default)]
pub(super) struct QueueRow {
    pub(super) name: String,
    pub(super) is_paused: bool,
    /// None where an older API does not say.
    pub(super) workers: Option<u64>,
    /// Ready, active, delayed, dead, done.
    pub(super) counts: [u64; 5],
    /// Since when its oldest job is due.
    pub(super) oldest_s: Option<i64>,
    /// Jobs that end in a second; none after the first look.
    pub(super) rate: Option<f64>,
    /// Accounts that are not called: the account, how, and why.
    pub(super) stopped: Vec<(String, String)>,
}

/// A dead job as it is shown.
#[derive(Clone, Debug)]
pub(super) struct Dead {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) attempts: i64,
    pub(super) said: String,
}

/// A question that has to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Confirmation {
    pub(super) text: String,
    path: String,
}

/// The action of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyAction {
    Nothing,
    Quit,
    Look,
    /// This, after a yes.
    Post(String),
}

/// Everything that is shown.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) queues: Vec<QueueRow>,
    pub(super) alerts: Vec<String>,
    pub(super) dead: Vec<Dead>,
    /// Places in both lists.
    pub(super) queue: usize,
    pub(super) job: usize,
    /// Whether keys move in the list of dead jobs.
    pub(super) in_jobs: bool,
    pub(super) question: Option<Confirmation>,
    /// Result of the last action.
    pub(super) said: String,
    /// Why the board is not of now.
    pub(super) away: Option<String>,
    looked_at: Option<Instant>,
}

fn text(value: &Value) -> String {
    // What others said is shown on this terminal: it must not steer it.
    value.as_str().unwrap_or_default().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

impl Board {
    /// Heeds what the API says of queues and alerts.
    pub(super) fn heed(&mut self, queues: &Value, alerts: &Value) {
        let now = Instant::now();
        let passed_s = self.looked_at.replace(now).map(|before| (now - before).as_secs_f64());
        let known: HashMap<String, QueueRow> = self.queues.drain(..).map(|queue| (queue.name.clone(), queue)).collect();
        self.queues = items(queues).map(queue).collect();
        for queue in &mut self.queues {
            let before = known.get(&queue.name);
            queue.rate = before.zip(passed_s).map(|(before, passed_s)| rate(before, queue, passed_s));
        }
        self.queue = self.queue.min(self.queues.len().saturating_sub(1));
        self.alerts =
            items(alerts).map(|alert| format!("{}: {}", text(&alert["rule"]), text(&alert["message"]))).collect();
    }

    /// Heeds what it says of the dead jobs of the queue that is looked at.
    pub(super) fn show_dead_jobs(&mut self, jobs: &Value) {
        let dead = |job: &Value| Dead {
            id: text(&job["jobId"]),
            kind: text(&job["kind"]),
            attempts: job["attempts"].as_i64().unwrap_or_default(),
            said: format!("{} {}", text(&job["lastError"]["code"]), text(&job["lastError"]["message"])),
        };
        self.dead = items(jobs).map(dead).collect();
        self.job = self.job.min(self.dead.len().saturating_sub(1));
    }

    /// The queue whose dead jobs are looked at: the one that is chosen, or the first that has some.
    pub(super) fn looked_at(&self) -> Option<&str> {
        let has_dead = |queue: &&QueueRow| queue.counts[3] > 0;
        let chosen = self.queues.get(self.queue).filter(has_dead);
        let of = chosen.or_else(|| self.queues.iter().find(has_dead).filter(|_| !self.in_jobs));
        of.map(|queue| queue.name.as_str())
    }

    /// Accounts that are not called, each once.
    pub(super) fn accounts(&self) -> Vec<&(String, String)> {
        let mut accounts: Vec<_> = self.queues.iter().flat_map(|queue| &queue.stopped).collect();
        accounts.sort();
        accounts.dedup();
        accounts
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> KeyAction {
        if is_interrupt(key) {
            return KeyAction::Quit;
        }
        if let Some(question) = self.question.take() {
            let is_yes = matches!(key.code, KeyCode::Char('y' | 'Y'));
            return if is_yes { KeyAction::Post(question.path) } else { KeyAction::Nothing };
        }
        self.said.clear();
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return KeyAction::Quit,
            KeyCode::Tab | KeyCode::Enter => self.in_jobs = !self.in_jobs,
            KeyCode::Down | KeyCode::Char('j') => return self.go(1),
            KeyCode::Up | KeyCode::Char('k') => return self.go(-1),
            KeyCode::Char('r') => self.ask_for_one(),
            KeyCode::Char('R') => self.ask_for_all(),
            _ => {}
        }
        KeyAction::Nothing
    }

    fn go(&mut self, by: isize) -> KeyAction {
        let (place, count) =
            if self.in_jobs { (&mut self.job, self.dead.len()) } else { (&mut self.queue, self.queues.len()) };
        *place = place.saturating_add_signed(by).min(count.saturating_sub(1));
        if self.in_jobs { KeyAction::Nothing } else { KeyAction::Look }
    }

    fn ask_for_one(&mut self) {
        let Some(job) = self.dead.get(self.job) else {
            self.said = "No dead job is here to be run again.".into();
            return;
        };
        let path = format!("/queues/jobs/{}/retry", job.id);
        self.question = Some(Confirmation { text: format!("Run {} ({}) again?", job.id, job.kind), path });
    }

    fn ask_for_all(&mut self) {
        let Some(queue) = self.looked_at().and_then(|name| self.queues.iter().find(|queue| queue.name == name)) else {
            self.said = "No queue here has dead jobs.".into();
            return;
        };
        let path = format!("/queues/{}/retry-dead", queue.name);
        self.question = Some(Confirmation {
            text: format!("Run all {} dead jobs of {} again?", queue.counts[3], queue.name),
            path,
        });
    }
}

fn queue(said: &Value) -> QueueRow {
    let count = |state: &str| said["counts"][state].as_u64().unwrap_or_default();
    let stopped = said["accounts"].as_array().into_iter().flatten().filter(|account| account["breaker"] != "closed");
    let stopped = stopped.map(|account| {
        let reason = account["reason"].as_str().map(|reason| format!(", {reason}")).unwrap_or_default();
        (text(&account["accountId"]), format!("{}{reason}", text(&account["breaker"])))
    });
    let oldest = said["oldestDueAt"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    QueueRow {
        name: text(&said["name"]),
        is_paused: said["paused"] == true,
        workers: said["workers"].as_u64(),
        counts: ["ready", "active", "delayed", "dead", "done"].map(count),
        oldest_s: oldest.map(|at| (jiff::Timestamp::now().as_second() - at.as_second()).max(0)),
        rate: None,
        stopped: stopped.collect(),
    }
}

/// Jobs that ended since the look before, in a second. Those that are trimmed meanwhile are not missed: then the rate stays.
fn rate(before: &QueueRow, now: &QueueRow, passed_s: f64) -> f64 {
    let ended = |queue: &QueueRow| queue.counts[3] + queue.counts[4];
    let known = before.rate.unwrap_or(0.0);
    if passed_s <= 0.0 || ended(now) < ended(before) {
        return known;
    }
    let latest = (ended(now) - ended(before)) as f64 / passed_s;
    if before.rate.is_none() { latest } else { known + SMOOTHING * (latest - known) }
}

/// Whether it is Ctrl-C, which is no signal while the screen is taken.
pub(super) fn is_interrupt(key: KeyEvent) -> bool {
    key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn press(board: &mut Board, key: char) -> KeyAction {
        board.press(KeyEvent::from(KeyCode::Char(key)))
    }

    fn board() -> Board {
        let queue = |name: &str, dead: u64| {
            json!({
                "name": name, "paused": false, "workers": 1, "accounts": [],
                "counts": { "ready": 1, "active": 0, "delayed": 0, "dead": dead, "done": 5 },
            })
        };
        let mut board = Board::default();
        board.heed(&json!({ "items": [queue("a-queue", 0), queue("b-queue", 2)] }), &json!({ "items": [] }));
        let dead = json!({ "items": [{ "jobId": "job_1", "kind": "x", "lastError": { "code": "c", "message": "\u{1b}[31mred" } }] });
        board.show_dead_jobs(&dead);
        board
    }

    #[test]
    fn nothing_is_run_again_without_a_yes() {
        let mut board = board();
        assert_eq!(press(&mut board, 'r'), KeyAction::Nothing);
        assert_eq!(press(&mut board, 'n'), KeyAction::Nothing);
        assert_eq!(press(&mut board, 'y'), KeyAction::Nothing, "the question is gone");
        press(&mut board, 'r');
        assert_eq!(press(&mut board, 'y'), KeyAction::Post("/queues/jobs/job_1/retry".into()));
        press(&mut board, 'R');
        assert_eq!(
            board.question.as_ref().map(|question| &*question.text),
            Some("Run all 2 dead jobs of b-queue again?")
        );
        assert_eq!(press(&mut board, 'y'), KeyAction::Post("/queues/b-queue/retry-dead".into()));
        assert_eq!(press(&mut board, 'q'), KeyAction::Quit);
    }

    #[test]
    fn what_others_say_does_not_steer_the_terminal() {
        assert!(!board().dead[0].said.contains('\u{1b}'));
    }

    #[test]
    fn a_rate_outlives_trimming() {
        let of = |done, rate| QueueRow { counts: [0, 0, 0, 0, done], rate, ..QueueRow::default() };
        assert!((rate(&of(10, None), &of(30, None), 2.0) - 10.0).abs() < 1e-9);
        assert!((rate(&of(30, Some(10.0)), &of(5, None), 2.0) - 10.0).abs() < 1e-9, "they were trimmed");
        assert!((rate(&of(5, Some(10.0)), &of(5, None), 2.0) - 7.0).abs() < 1e-9);
    }
}
