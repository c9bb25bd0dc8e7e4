//! Draws the board.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Cell, Paragraph, Row, Table, TableState},
};

use super::board::{Board, QueueRow};

const HELP: &str = "up, down: choose   tab: queues, dead jobs   r: run a dead job again   R: all of a queue   q: quit";

pub(super) fn draw(frame: &mut Frame<'_>, board: &Board) {
    let accounts = board.accounts();
    let rows = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
    let notes = rows(board.alerts.len() + accounts.len()).min(frame.area().height / 4);
    let heights = [
        Constraint::Length(1),
        Constraint::Length(notes),
        Constraint::Length(rows(board.queues.len()).saturating_add(2)),
        Constraint::Min(3),
        Constraint::Length(1),
    ];
    let [head, note_area, queue_area, job_area, foot] = Layout::vertical(heights).areas(frame.area());
    frame.render_widget(heading(board), head);
    let alerts = board.alerts.iter().map(|alert| Line::styled(format!("ALERT {alert}"), alarming()));
    let stopped = accounts
        .iter()
        .map(|(account, how)| Line::styled(format!("BREAKER {account} is not called: {how}"), alarming()));
    frame.render_widget(Paragraph::new(alerts.chain(stopped).collect::<Vec<_>>()), note_area);
    draw_queues(frame, board, queue_area);
    draw_jobs(frame, board, job_area);
    frame.render_widget(footer(board), foot);
}

const fn alarming() -> Style {
    Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
}

const fn dimmed() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

fn heading(board: &Board) -> Paragraph<'_> {
    let total = |state: usize| board.queues.iter().map(|queue| queue.counts[state]).sum::<u64>();
    let counts = format!(
        "waybill top   {} ready, {} active, {} dead, {} alerts",
        total(0),
        total(1),
        total(3),
        board.alerts.len()
    );
    let away = board.away.as_ref().map(|why| Span::styled(format!("   NOT OF NOW: {why}"), alarming()));
    Paragraph::new(Line::from_iter([Some(Span::raw(counts)), away].into_iter().flatten()))
}

fn footer(board: &Board) -> Paragraph<'_> {
    match (&board.question, &*board.said) {
        (Some(question), _) => {
            Paragraph::new(Line::styled(format!("{} y: yes, any other key: no", question.text), alarming()))
        }
        (None, "") => Paragraph::new(Line::styled(HELP, dimmed())),
        (None, said) => Paragraph::new(said),
    }
}

fn age(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn queue_row(queue: &QueueRow) -> Row<'_> {
    let [ready, active, delayed, dead, done] = queue.counts;
    let state = match (queue.is_paused, queue.workers) {
        (true, _) => "paused".to_owned(),
        (false, Some(0)) => "nobody works it".to_owned(),
        (false, Some(1)) => "1 worker".to_owned(),
        (false, Some(workers)) => format!("{workers} workers"),
        (false, None) => String::new(),
    };
    let is_odd = queue.is_paused || queue.workers == Some(0);
    let number = |count: u64| Cell::from(count.to_string());
    Row::new([
        Cell::from(queue.name.as_str()),
        number(ready),
        number(active),
        number(delayed),
        if dead > 0 { number(dead).style(alarming()) } else { number(dead) },
        number(done),
        Cell::from(queue.rate.map_or_else(|| "-".into(), |rate| format!("{rate:.1}/s"))),
        Cell::from(queue.oldest_s.map_or_else(|| "-".into(), age)),
        if is_odd { Cell::from(state).style(alarming()) } else { Cell::from(state) },
    ])
}

fn table<'a, const N: usize>(rows: Vec<Row<'a>>, widths: [Constraint; N], heads: [&'static str; N]) -> Table<'a> {
    let heads = Row::new(heads).style(Style::new().add_modifier(Modifier::BOLD));
    Table::new(rows, widths)
        .header(heads)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(Block::new().borders(Borders::TOP))
}

fn draw_queues(frame: &mut Frame<'_>, board: &Board, area: Rect) {
    let number = Constraint::Length(8);
    let widths = [Constraint::Min(34), number, number, number, number, number, number, number, Constraint::Length(16)];
    let heads = ["queue", "ready", "active", "delayed", "dead", "done", "rate", "oldest", "state"];
    let table = table(board.queues.iter().map(queue_row).collect(), widths, heads);
    let mut state = TableState::new().with_selected(Some(board.queue).filter(|_| !board.in_jobs));
    frame.render_stateful_widget(table, area, &mut state);
}

fn draw_jobs(frame: &mut Frame<'_>, board: &Board, area: Rect) {
    if board.dead.is_empty() {
        let none = Paragraph::new("No job of this queue is dead.").block(Block::new().borders(Borders::TOP));
        frame.render_widget(none, area);
        return;
    }
    let rows = board
        .dead
        .iter()
        .map(|job| Row::new([job.id.clone(), job.kind.clone(), job.attempts.to_string(), job.said.clone()]));
    let widths = [Constraint::Length(36), Constraint::Length(18), Constraint::Length(5), Constraint::Min(20)];
    let table = table(rows.collect(), widths, ["dead job", "kind", "tries", "why"]);
    let mut state = TableState::new().with_selected(Some(board.job).filter(|_| board.in_jobs));
    frame.render_stateful_widget(table, area, &mut state);
}
