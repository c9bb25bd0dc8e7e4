//! `waybill top`: a board of queues, breakers and dead jobs in the terminal. It asks the API, so it shows what the token may see, and what it
//! does is on record like everything that is done there.

mod board;
mod draw;

use std::{io::IsTerminal, time::Duration};

use ratatui::{
    DefaultTerminal, Terminal,
    backend::TestBackend,
    crossterm::event::{self, Event, KeyEvent, KeyEventKind},
};
use serde_json::Value;
use tokio::sync::mpsc;
use waybill_client::Method;

use self::{
    board::{Board, KeyAction},
    draw::draw,
};
use super::{follow::PollError, remote::Remote};
use crate::config::TopArgs;

/// How often the API is asked.
const EVERY: Duration = Duration::from_secs(2);
/// Between the two looks of `--once`, of which rates are told.
const ONCE_APART: Duration = Duration::from_secs(1);
/// How long a key is waited for before somebody looks whether the program has ended.
const KEY_WAIT: Duration = Duration::from_millis(200);
/// Columns of `--once`.
const ONCE_COLUMNS: u16 = 120;
/// Lines of `--once` besides those of queues and dead jobs.
const ONCE_LINES: u16 = 10;

pub(super) async fn run(args: TopArgs) -> Result<(), String> {
    let mut remote = Remote::new(args.api)?;
    if args.once {
        return once(&mut remote).await;
    }
    if !std::io::stdout().is_terminal() {
        return Err("this is no terminal; --once prints the board once".into());
    }
    let mut board = Board::default();
    // What is wrong with the token is said before the screen is taken.
    look(&mut remote, &mut board).await.map_err(PollError::said)?;
    remote.ask_nobody();
    let mut terminal = ratatui::try_init().map_err(|error| format!("the terminal can't be used: {error}"))?;
    let ended = show(&mut terminal, &mut remote, &mut board).await;
    ratatui::restore();
    ended
}

async fn once(remote: &mut Remote) -> Result<(), String> {
    let mut board = Board::default();
    look(remote, &mut board).await.map_err(PollError::said)?;
    tokio::time::sleep(ONCE_APART).await;
    look(remote, &mut board).await.map_err(PollError::said)?;
    print!("{}", frame(&board)?);
    Ok(())
}

/// The board as text, as wide as [`ONCE_COLUMNS`] and as high as it needs.
fn frame(board: &Board) -> Result<String, String> {
    let lines = u16::try_from(board.queues.len() + board.dead.len() + board.accounts().len()).unwrap_or(u16::MAX);
    let backend = TestBackend::new(ONCE_COLUMNS, lines.saturating_add(ONCE_LINES).min(500));
    let mut terminal = Terminal::new(backend).map_err(|error| error.to_string())?;
    terminal.draw(|frame| draw(frame, board)).map_err(|error| error.to_string())?;
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    // The last line says what keys do, and there are none.
    let lines = usize::from(buffer.area.height.saturating_sub(1));
    for row in buffer.content().chunks(usize::from(buffer.area.width)).take(lines) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    Ok(format!("{}\n", text.trim_end()))
}

/// Shows the board until somebody quits.
async fn show(terminal: &mut DefaultTerminal, remote: &mut Remote, board: &mut Board) -> Result<(), String> {
    let mut keys = keys();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        terminal.draw(|frame| draw(frame, board)).map_err(|error| error.to_string())?;
        tokio::select! {
            _ = ticks.tick() => look_and_note(remote, board).await,
            key = keys.recv() => {
                let Some(key) = key else { return Ok(()) };
                match board.press(key) {
                    KeyAction::Nothing => {}
                    KeyAction::Quit => return Ok(()),
                    KeyAction::Look => look_and_note(remote, board).await,
                    KeyAction::Post(path) => {
                        board.said = done(remote.ask(Method::POST, &path).await);
                        look_and_note(remote, board).await;
                    }
                }
            }
        }
    }
}

/// The result of an action in words.
fn done(answer: Result<Value, PollError>) -> String {
    let answer = match answer {
        Ok(answer) => answer,
        Err(trouble) => return trouble.said(),
    };
    match (answer["jobId"].as_str(), answer["retried"].as_u64()) {
        (Some(job_id), _) => format!("{job_id} is run again."),
        (None, Some(retried)) => {
            let (refused, more) = (answer["refused"].as_u64().unwrap_or_default(), answer["more"] == true);
            let more = if more { " There are more: press R again." } else { "" };
            let failed = match answer["failed"].as_u64().unwrap_or_default() {
                0 => String::new(),
                failed => format!(" {failed} were not reached: the database did not take them in time."),
            };
            format!("{retried} jobs are run again, {refused} may not be.{failed}{more}")
        }
        (None, None) => "Done.".into(),
    }
}

/// A look that fails leaves the board as it was, and says so.
async fn look_and_note(remote: &mut Remote, board: &mut Board) {
    board.away = look(remote, board).await.err().map(PollError::said);
}

async fn look(remote: &mut Remote, board: &mut Board) -> Result<(), PollError> {
    let queues: Value = remote.ask(Method::GET, "/queues").await?;
    // A key that may see queues need not see alerts.
    let alerts = match remote.ask(Method::GET, "/alerts?state=firing").await {
        Err(PollError::Refused(_)) => Value::Null,
        answered => answered?,
    };
    board.heed(&queues, &alerts);
    let dead = match board.looked_at() {
        Some(queue) => remote.ask(Method::GET, &format!("/queues/{queue}/jobs?state=dead&limit=50")).await?,
        None => Value::Null,
    };
    board.show_dead_jobs(&dead);
    Ok(())
}

/// Keys as they are pressed. The thread ends when nobody listens any more.
fn keys() -> mpsc::Receiver<KeyEvent> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            let key = match event::poll(KEY_WAIT) {
                Ok(true) => event::read(),
                Ok(false) => continue,
                Err(_) => return,
            };
            let Ok(Event::Key(key)) = key else { continue };
            if key.kind == KeyEventKind::Press && sender.blocking_send(key).is_err() {
                return;
            }
        }
    });
    receiver
}
