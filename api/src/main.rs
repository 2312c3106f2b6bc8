//! `crm`: the server and its command line.

fn main() -> std::process::ExitCode {
    api::cli::main()
}
