//! `muster rebuild`: makes every projection again from the log with the server stopped, and proves that it is what is there.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use comfy_table::{Table, presets};

use super::verify::{self, progress_bar};
use crate::app::StartError;
use crate::config::DataConfig;
use crate::recovery::{self, Rebuilt};
use crate::telemetry;

/// Arguments of `muster rebuild`.
#[derive(Debug, Args)]
pub(super) struct Rebuild {
    #[command(flatten)]
    data: DataConfig,

    /// Put right what differs, in one transaction. Without this nothing is changed.
    #[arg(long)]
    replace: bool,

    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command; its status is 0 only if every row of the log was projected, and every projection is what the log says
/// or was put right.
pub(super) fn run(rebuild: &Rebuild) -> Result<ExitCode, Box<dyn std::error::Error>> {
    telemetry::start(&rebuild.data).map_err(StartError::Other)?;
    let (_lock, db) =
        if rebuild.replace { verify::open_alone(&rebuild.data)? } else { (None, verify::open(&rebuild.data, false)?) };
    let key = verify::server_key(&db, &rebuild.data).inspect_err(|_| db.close())?;
    // Beside the data: it may become as large as the log.
    let scratch = tempfile::tempdir_in(&rebuild.data.data_dir)?;
    let bar = progress_bar("rows");
    let rebuilt = recovery::rebuild(&db, &key, &scratch.path().join("rebuild.db"), rebuild.replace, &|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    db.close();
    let rebuilt = rebuilt?;
    let mut out = std::io::stdout().lock();
    if rebuild.json {
        serde_json::to_writer_pretty(&mut out, &rebuilt)?;
        writeln!(out)?;
    } else {
        print(&mut out, &rebuilt)?;
    }
    let right = (rebuilt.is_equal() || rebuild.replace) && rebuilt.set_aside_rows == 0;
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(out: &mut impl Write, rebuilt: &Rebuilt) -> std::io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["projection", "rows", "from the log", "different", "sha256"]);
    for report in &rebuilt.tables {
        let rows = [report.present_rows, report.rebuilt_rows, report.differences].map(|count| count.to_string());
        table.add_row([report.table, &rows[0], &rows[1], &rows[2], &report.rebuilt_sha256[..16]]);
    }
    writeln!(out, "{table}")?;
    for report in &rebuilt.tables {
        if let Some(first) = &report.first {
            writeln!(out, "DIFFERENT: {}, {}: {}", report.table, first.key, first.what)?;
        }
    }
    for row in &rebuilt.set_aside {
        writeln!(out, "SET ASIDE: {}, row {}: {}", row.tenant, row.log_index, row.what)?;
    }
    if rebuilt.set_aside_rows > 0 {
        writeln!(out, "{} rows of the log were set aside; muster verify says more", rebuilt.set_aside_rows)?;
    }
    let (seconds, rate) = (rebuilt.elapsed_ms as f64 / 1e3, rebuilt.rows * 1000 / rebuilt.elapsed_ms.max(1));
    writeln!(out, "projected {} rows in {seconds:.2} s: {rate} rows/s", rebuilt.rows)?;
    match (rebuilt.is_equal(), rebuilt.replaced) {
        (true, _) => writeln!(out, "every projection is what the log says"),
        (false, 0) => writeln!(out, "projections are NOT what the log says; --replace puts them right"),
        (false, replaced) => writeln!(out, "{replaced} rows were put right"),
    }
}
