//! `aop`: the process around [`aop::cli::run`].

use std::process::ExitCode;

fn main() -> ExitCode {
    // One request after the other: one thread is enough, and starts faster than several.
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => ExitCode::from(runtime.block_on(aop::cli::run(std::env::args_os()))),
        Err(error) => {
            eprintln!("error: no runtime can be made: {error}");
            ExitCode::FAILURE
        }
    }
}
