//! State machines as tables for people.

use std::fmt::Debug;

/// The table as Markdown: a row per state, a column per command, `-` where it is not allowed, `=` where the state stays.
/// `heading` names the states, `name` one of them.
pub fn markdown<S: Copy + PartialEq, C: Copy + Debug>(
    heading: &str,
    states: &[S],
    commands: &[C],
    name: impl Fn(S) -> &'static str,
    next: impl Fn(S, C) -> Option<S>,
) -> String {
    let mut out = format!("| {heading} |");
    for command in commands {
        out.push_str(&format!(" {command:?} |"));
    }
    out.push_str("\n|---|");
    out.push_str(&"---|".repeat(commands.len()));
    for state in states {
        out.push_str(&format!("\n| {} |", name(*state)));
        for command in commands {
            let cell = match next(*state, *command) {
                None => "-",
                Some(to) if to == *state => "=",
                Some(to) => name(to),
            };
            out.push_str(&format!(" {cell} |"));
        }
    }
    out.push('\n');
    out
}
