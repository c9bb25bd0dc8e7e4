//! Why a command ends without a success.

use std::{fmt, process::ExitCode};

use waybill_client::Failure;

/// Why a command ends without a success.
pub(super) enum CommandError {
    /// Something on this machine.
    Here(String),
    /// The command line is wrong.
    Usage(String),
    /// The call failed.
    Failure(Failure),
    /// The reader of stdout has closed it.
    NobodyReads,
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(words) | Self::Usage(words) => f.write_str(words),
            Self::Failure(failure) => failure.fmt(f),
            Self::NobodyReads => f.write_str("nobody reads the output"),
        }
    }
}

impl CommandError {
    /// Says what went wrong on stderr, and how the program ends.
    pub(super) fn exit_code(&self) -> ExitCode {
        if matches!(self, Self::NobodyReads) {
            return ExitCode::SUCCESS;
        }
        eprintln!("waybill: {self}");
        if let Self::Failure(Failure::Problem(problem)) = self {
            for error in &problem.errors {
                eprintln!("  {}: {} ({})", error.field, error.message, error.code);
            }
            if let Some(request_id) = &problem.request_id {
                eprintln!("  request {request_id}");
            }
            if problem.status == 401 {
                eprintln!("  sign in: waybill api login, or give a token in WAYBILL_TOKEN");
            }
        }
        ExitCode::from(self.code())
    }

    const fn code(&self) -> u8 {
        match self {
            Self::NobodyReads => 0,
            Self::Here(_) | Self::Failure(Failure::Unusable(_)) => 1,
            Self::Usage(_) => 2,
            Self::Failure(Failure::NoAnswer { .. }) => 3,
            Self::Failure(Failure::Problem(problem)) => match problem.status {
                401 | 403 => 4,
                404 => 5,
                400 | 413 | 415 | 422 => 6,
                408 | 425 | 429 | 503 => 8,
                402 | 405..=499 => 7,
                _ => 9,
            },
        }
    }
}
