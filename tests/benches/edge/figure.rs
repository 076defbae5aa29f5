//! A figure with its floor and its aim, and the table that they are printed in.

use std::fmt::Write as _;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Whether a smoke test is enough.
    pub quick: bool,
    /// Seed of everything that is drawn.
    pub seed: u64,
}

impl Scale {
    /// `whole`, or `quick` where a smoke test is enough.
    pub fn pick<T>(&self, whole: T, quick: T) -> T {
        if self.quick { quick } else { whole }
    }
}

/// What a figure is to be.
#[derive(Clone, Copy, Debug)]
pub enum Aim {
    /// Ours ÷ floor.
    RatioAtMost(f64),
    /// Ours ÷ floor, where more is better.
    RatioAtLeast(f64),
    /// Ours itself, in its unit.
    AtMost(f64),
    /// Ours itself, where more is better.
    AtLeast(f64),
    /// Reported, without an aim.
    Report,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What was measured, with its size.
    pub what: String,
    /// The unit of both figures.
    pub unit: &'static str,
    /// What Keywheel does.
    pub ours: f64,
    /// What is below it, and how much that is.
    pub floor: Option<(String, f64)>,
    /// What it should be.
    pub aim: Aim,
}

impl Figure {
    /// A line for what cannot be measured here.
    pub fn missing(what: &str, because: &str) -> Figure {
        println!("{what}: not available: {because}");
        Figure {
            what: format!("{what}: not available ({because})"),
            unit: "",
            ours: f64::NAN,
            floor: None,
            aim: Aim::Report,
        }
    }

    fn ratio(&self) -> Option<f64> {
        self.floor.as_ref().map(|(_, floor)| self.ours / floor)
    }

    /// The aim in words, and whether it is met; nothing where there is none.
    fn judged(&self) -> (String, &'static str) {
        let ratio = self.ratio().unwrap_or(f64::NAN);
        let (aim, is_met) = match self.aim {
            Aim::RatioAtMost(most) => (format!("≤ {most} ×"), ratio <= most),
            Aim::RatioAtLeast(least) => (format!("≥ {least} ×"), ratio >= least),
            Aim::AtMost(most) => (format!("≤ {}", number(most)), self.ours <= most),
            Aim::AtLeast(least) => (format!("≥ {}", number(least)), self.ours >= least),
            Aim::Report => return ("report".to_owned(), ""),
        };
        (aim, if is_met { "yes" } else { "no" })
    }
}

/// All figures as a Markdown table.
pub fn table(figures: &[Figure]) -> String {
    let mut text = "| what | ours | floor | ratio | aim | met |\n|---|---|---|---|---|---|\n".to_owned();
    for figure in figures {
        let (aim, met) = figure.judged();
        let floor = figure
            .floor
            .as_ref()
            .map_or(String::new(), |(what, floor)| format!("{} {} ({what})", number(*floor), figure.unit));
        let ratio = figure.ratio().map_or(String::new(), |ratio| format!("{ratio:.2}"));
        let ours = number(figure.ours);
        let row = writeln!(
            text,
            "| {} | {ours} {} | {floor} | {ratio} | {aim} | {met} |",
            figure.what, figure.unit
        );
        row.expect("writing to a string does not fail");
    }
    text
}

/// Three significant digits, and no more than is known.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size.is_nan() => String::new(),
        _ => format!("{value:.2}"),
    }
}
