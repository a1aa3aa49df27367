//! `cairn serve`: runs the server until it is told to stop. Exit status 1 when it could not start or did not stop cleanly.

use std::net::SocketAddr;
use std::process::ExitCode;

use crate::config::Loaded;
use crate::identities::own::NewKey;
use crate::{log, wiring};

pub(super) fn run_serve(loaded: Loaded) -> ExitCode {
    log::start(&loaded.config.log);
    for name in loaded.not_in_force() {
        tracing::warn!(setting = name, "this setting is not yet in force");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("cairn").build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the threads");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(wiring::serve(loaded.config, show_new_key)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = wiring::chain(&error), "the server cannot run");
            ExitCode::FAILURE
        }
    }
}

/// Shows the generated root key: on standard output, never in the log, and never again.
fn show_new_key(key: &NewKey, endpoint: SocketAddr, region: &str) {
    let (access_key, secret_key) = (&key.access_key, key.secret_key.expose());
    println!(
        "\nCairn made the root credentials of this data directory. They are shown only this once:\n\n  \
           access key  {access_key}\n  \
           secret key  {secret_key}\n\n\
         To try them:\n\n  \
           export AWS_ACCESS_KEY_ID={access_key}\n  \
           export AWS_SECRET_ACCESS_KEY={secret_key}\n  \
           export AWS_DEFAULT_REGION={region}\n  \
           aws --endpoint-url http://{endpoint} s3 mb s3://my-bucket\n"
    );
}
