//! Tables of plain text: columns two spaces apart, a heading in capitals, no colour and no lines.

/// Rows under headings.
#[derive(Debug, Default)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new(headings: impl IntoIterator<Item = &'static str>) -> Self {
        Self { headings: headings.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row; an empty cell shows as `-`.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    /// The text, or `nothing` if there is no row.
    pub fn render_or(&self, nothing: &str) -> String {
        if self.rows.is_empty() { nothing.to_owned() } else { self.render() }
    }

    /// The text: a heading, then the rows.
    pub fn render(&self) -> String {
        let mut widths: Vec<usize> = self.headings.iter().map(|h| h.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let headings: Vec<String> = self.headings.iter().map(|&h| h.to_owned()).collect();
        let mut text = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            text.push_str(&line(row, &widths));
            text.push('\n');
        }
        text
    }
}

/// One row, padded to at least `widths`. A longer cell pushes the following ones to the right. The last cell is not
/// padded.
pub fn line(cells: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (i, cell) in cells.iter().enumerate() {
        text.push_str(cell);
        if i + 1 < cells.len() {
            let width = widths.get(i).copied().unwrap_or(0);
            let padding = width.saturating_sub(cell.chars().count()) + 2;
            text.extend(std::iter::repeat_n(' ', padding));
        }
    }
    text
}

/// The cell with control characters made visible: what a workload chose (paths, hosts) can't move the cursor or
/// recolour the terminal.
pub fn printable(cell: &str) -> String {
    if cell.is_empty() {
        return "-".into();
    }
    cell.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// `key: value` lines with the values aligned.
pub fn facts(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(key, _)| key.chars().count() + 1).max().unwrap_or(0);
    pairs.iter().map(|(key, value)| format!("{:<width$}  {}\n", format!("{key}:"), printable(value))).collect()
}
