//! `crm`, built for the tests.

fn main() -> std::process::ExitCode {
    api::cli::main()
}
