//! The program `muster`.

fn main() -> std::process::ExitCode {
    muster_server::cli::run()
}
