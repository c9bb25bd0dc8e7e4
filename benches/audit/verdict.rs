//! What was promised, and whether it is kept.

/// Lines that were judged.
#[derive(Default)]
pub struct Verdicts {
    missed: usize,
    judged: usize,
}

impl Verdicts {
    pub fn at_least(&mut self, what: &str, value: f64, least: f64) {
        self.judge(what, value, least, value >= least, "at least");
    }

    pub fn at_most(&mut self, what: &str, value: f64, most: f64) {
        self.judge(what, value, most, value <= most, "at most");
    }

    fn judge(&mut self, what: &str, value: f64, bound: f64, kept: bool, side: &str) {
        println!("{what}: {value:.2} (promised: {side} {bound}; {})", if kept { "kept" } else { "NOT KEPT" });
        self.judged += 1;
        self.missed += usize::from(!kept);
    }

    /// Whether something was judged, and nothing missed.
    pub const fn all_kept(&self) -> bool {
        self.judged > 0 && self.missed == 0
    }
}
