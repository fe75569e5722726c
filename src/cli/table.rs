//! Tables without boxes: columns by display width, on a terminal the last column is cut to the window, in a pipe nothing is coloured.
//!
//! Not a layout engine: one row is one line, so that `grep` and `awk` work on what a person reads. Every cell is cleaned here, which
//! is why no command has to remember to.

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Row, Table as Grid, presets,
};

use super::text;

/// Longest last column in a pipe, where there is no window to cut it to.
const LAST_COLUMN_CHARS: usize = 100;
/// The last column keeps at least this many characters, however narrow the window is.
const LAST_COLUMN_CHARS_MIN: u16 = 20;

/// How it is drawn.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Look {
    /// Whether escape sequences may be written.
    pub(crate) color: bool,
    /// Width of the window; `None` in a pipe.
    pub(crate) width: Option<u16>,
    /// Whether nothing is cut (`-o wide` in a pipe).
    pub(crate) whole: bool,
}

/// What a cell says beyond its text; shown as colour, never by colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Name,
    Good,
    Warn,
    Bad,
    Faint,
}

/// Header and rows.
#[derive(Debug, Default)]
pub(crate) struct Table {
    header: Vec<&'static str>,
    right: Vec<bool>,
    rows: Vec<Vec<(String, Tone)>>,
}

impl Table {
    /// A table with these columns; a leading `>` aligns a column to the right.
    pub(crate) fn new(columns: &[&'static str]) -> Self {
        Self {
            header: columns.iter().map(|c| c.trim_start_matches('>')).collect(),
            right: columns.iter().map(|c| c.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds one row.
    pub(crate) fn row(&mut self, cells: Vec<(String, Tone)>) {
        self.rows.push(cells.into_iter().map(|(cell, tone)| (text::clean(&cell), tone)).collect());
    }

    /// Whether no row was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The whole table, each line ended.
    pub(crate) fn render(&self, look: Look) -> String {
        let last = self.header.len().saturating_sub(1);
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING);
        grid.force_no_tty();
        grid.set_truncation_indicator("…");
        if look.color {
            grid.enforce_styling();
        }
        grid.set_header(self.header.iter().map(|name| paint(Cell::new(name), Tone::Faint, look.color)));
        for cells in &self.rows {
            let mut row = Row::new();
            for (index, (cell, tone)) in cells.iter().enumerate() {
                let cut = index == last && look.width.is_none() && !look.whole;
                let cell = if cut { text::cut(cell, LAST_COLUMN_CHARS) } else { cell.clone() };
                row.add_cell(paint(Cell::new(cell), *tone, look.color));
            }
            row.max_height(1);
            grid.add_row(row);
        }
        for (index, column) in grid.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            if self.right.get(index) == Some(&true) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            if index != last {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        if let Some(width) = look.width {
            let others: u16 = grid.column_max_content_widths().iter().take(last).map(|w| w.saturating_add(2)).sum();
            grid.set_content_arrangement(ContentArrangement::Dynamic);
            grid.set_width(width.max(others.saturating_add(LAST_COLUMN_CHARS_MIN + 2)));
        }
        let mut lines = grid.trim_fmt();
        lines.push('\n');
        lines
    }
}

fn paint(cell: Cell, tone: Tone, color: bool) -> Cell {
    if !color {
        return cell;
    }
    match tone {
        Tone::Plain => cell,
        Tone::Name => cell.add_attribute(Attribute::Bold),
        Tone::Good => cell.fg(Color::Green),
        Tone::Warn => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red),
        Tone::Faint => cell.add_attribute(Attribute::Dim),
    }
}

/// A plain cell.
pub(crate) fn plain(text: impl Into<String>) -> (String, Tone) {
    (text.into(), Tone::Plain)
}

/// The cell that names the row.
pub(crate) fn name(text: impl Into<String>) -> (String, Tone) {
    (text.into(), Tone::Name)
}

/// A cell of lesser weight.
pub(crate) fn faint(text: impl Into<String>) -> (String, Tone) {
    (text.into(), Tone::Faint)
}

/// Two columns without a header: what, and its value; `indent` blanks before.
pub(crate) fn facts(facts: &[(&str, String)], indent: usize) -> String {
    let said = || facts.iter().filter(|(_, value)| !value.is_empty());
    let width = said().map(|(what, _)| what.chars().count()).max().unwrap_or(0);
    let mut lines = String::new();
    for (what, value) in said() {
        lines.push_str(&format!("{:indent$}{what:<width$}  {}\n", "", text::clean(value)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[">#", "TOOL", "DESCRIPTION"]);
        table.row(vec![plain("1"), name("echo.demo"), plain("Says\nthe same \u{1b}[31magain")]);
        table.row(vec![plain("10"), name("搜索.demo"), plain("Searches far and wide over everything there is")]);
        table
    }

    #[test]
    fn in_a_pipe_columns_line_up_and_nothing_is_coloured() {
        assert_eq!(
            table().render(Look::default()),
            " #  TOOL       DESCRIPTION\n 1  echo.demo  Says the same [31magain\n10  搜索.demo  Searches far and wide over everything there is\n"
        );
    }

    #[test]
    fn on_a_terminal_only_the_last_column_is_cut() {
        let text = table().render(Look { width: Some(40), ..Look::default() });
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert!(text.contains("echo.demo  Says the same"), "{text}");
        assert_eq!(text.lines().count(), 3, "{text}");
    }
}
