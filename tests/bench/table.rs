//! What a section prints: each figure beside what it is compared with.

use std::fmt::Write as _;

/// The figures of one section.
pub struct Table {
    title: &'static str,
    rows: Vec<[String; 6]>,
    notes: Vec<String>,
}

/// What a ratio should be.
#[derive(Clone, Copy)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// Measured for comparison only.
    None,
}

impl Table {
    pub fn new(title: &'static str) -> Self {
        Self { title, rows: Vec::new(), notes: Vec::new() }
    }

    /// Adds a figure with the ratio to its reference.
    pub fn row(
        &mut self,
        name: &str,
        figure: String,
        reference: String,
        ratio: f64,
        target: Target,
    ) {
        let (wanted, met) = match target {
            Target::AtLeast(least) => (format!("≥ {least}"), verdict(ratio >= least)),
            Target::AtMost(most) => (format!("≤ {most}"), verdict(ratio <= most)),
            Target::None => (String::new(), String::new()),
        };
        let ratio = if ratio < 0.1 { format!("{ratio:.4}") } else { format!("{ratio:.2}") };
        self.rows.push([name.to_owned(), figure, reference, ratio, wanted, met]);
    }

    /// Adds a figure that is compared with nothing.
    pub fn figure(&mut self, name: &str, figure: String) {
        self.rows.push([
            name.to_owned(),
            figure,
            String::new(),
            String::new(),
            String::new(),
            String::new(),
        ]);
    }

    /// Adds a line below the table.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Prints it as a table that Markdown understands too.
    #[allow(clippy::print_stdout, reason = "this is what a benchmark is for")]
    pub fn print(&self) {
        let head = [self.title, "figure", "reference", "ratio", "target", "met"].map(str::to_owned);
        let rows: Vec<&[String; 6]> = std::iter::once(&head).chain(&self.rows).collect();
        let widths: [usize; 6] = std::array::from_fn(|column| {
            rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        });
        let mut text = String::from("\n");
        for (at, row) in rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(widths) {
                // Writing to a String cannot fail.
                let _ = write!(text, "| {cell:width$} ");
            }
            text.push_str("|\n");
            if at == 0 {
                for width in widths {
                    let _ = write!(text, "|{}", "-".repeat(width + 2));
                }
                text.push_str("|\n");
            }
        }
        for note in &self.notes {
            let _ = writeln!(text, "{note}");
        }
        println!("{text}");
    }
}

fn verdict(met: bool) -> String {
    if met { "met" } else { "NOT met" }.to_owned()
}

/// The middle one.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
