//! The examples of the help texts, and what is made of the help texts: completions of shells and man pages.

use std::path::Path;
use std::process::ExitCode;
use std::{fs, io};

use clap::CommandFactory as _;
use clap_mangen::Man;

use super::arguments::{Arguments, CompletionsArguments, ManArguments};
use super::failure::Failure;
use super::{Result, output};

/// The name of the program.
const NAME: &str = "webhook-guard";

pub(super) const COMMANDS: &str = "\
Examples:
  Check a configuration:
    webhook-guard check envoy.yaml
  Sign a body as the sender would:
    webhook-guard sign --config envoy.yaml --body order.json
  Find out why a captured request is rejected:
    webhook-guard explain --config envoy.yaml --request request.http

Exit status:
  0  Success. For verify and explain, the guard accepts the request, or answers it as a handshake.
  1  For verify and explain, any other verdict. For check --strict, there are warnings.
  2  An argument, a file or a configuration has a fault.

Secrets are read from the environment variables that the configuration names, or from files.
They are never arguments, and never printed.";

pub(super) const CHECK: &str = "\
Examples:
  Check a configuration of Envoy:
    webhook-guard check envoy.yaml
  Check manifests in CI, where warnings fail too:
    webhook-guard check --strict manifests/*.yaml
  Write a report for code scanning:
    webhook-guard check --format sarif envoy.yaml > guard.sarif";

pub(super) const SIGN: &str = "\
Only the headers of the signature are made. Add the sender's other headers by -H.
With --at, the command warns if a guard would reject the request at the present time.

Examples:
  Print the headers of a signed request:
    printf '%s' '{\"order\": 43}' | webhook-guard sign --config envoy.yaml --body -
  Print a curl command:
    webhook-guard sign --config envoy.yaml --body order.json --format curl
  Send the request to a local Envoy:
    webhook-guard sign --config envoy.yaml --body order.json --send http://127.0.0.1:10000
  Read the secret from a file instead of its environment variable:
    webhook-guard sign --config envoy.yaml --body order.json --secret-file v1=secret.txt";

pub(super) const VERIFY: &str = "\
The command works offline. A pasted curl command is read, and never run.

Examples:
  Verify a captured request:
    webhook-guard verify --config envoy.yaml --request request.http
  Verify the request at the time of its capture:
    webhook-guard verify --config envoy.yaml --request request.http --at 2026-11-29T12:00:00Z
  Read the secret from a file instead of its environment variable:
    webhook-guard verify --config envoy.yaml --request request.http --secret-file v1=secret.txt";

pub(super) const EXPLAIN: &str = "\
The command works offline. A pasted curl command is read, and never run.

Examples:
  Find out why a captured request is rejected:
    webhook-guard explain --config envoy.yaml --request request.http
  Explain the request at the time of its capture:
    webhook-guard explain --config envoy.yaml --request request.http --at 2026-11-29T12:00:00Z
  Read the secret from a file instead of its environment variable:
    webhook-guard explain --config envoy.yaml --request request.http --secret-file v1=secret.txt";

pub(super) const PROVIDERS: &str = "\
Examples:
  List the presets of payment services:
    webhook-guard providers pay
  Write a configuration with the scheme of a preset, to change it:
    webhook-guard providers stripe > guard.yaml";

pub(super) const VERSION: &str = "\
The command prints what the file of a module says. Only a signature shows who built the module.

Examples:
  Print the version and the commit of this command:
    webhook-guard version
  Print those of a module, with its SHA-256, its size and the crates inside:
    webhook-guard version webhook_guard.wasm";

pub(super) const COMPLETIONS: &str = "\
Examples:
  Bash, in this shell:
    source <(webhook-guard completions bash)
  Zsh, into a folder of $fpath:
    webhook-guard completions zsh > ~/.zfunc/_webhook-guard
  Fish:
    webhook-guard completions fish > ~/.config/fish/completions/webhook-guard.fish";

pub(super) const MAN: &str = "\
Examples:
  Write the pages, and read one:
    webhook-guard man ~/.local/share/man/man1
    man webhook-guard-explain";

/// Prints the completions of a shell.
pub(super) fn completions(arguments: &CompletionsArguments) -> Result {
    let mut script = Vec::new();
    let mut program = Arguments::command();
    clap_complete::generate(arguments.shell, &mut program, NAME, &mut script);
    // clap_complete 4.6 writes the hyphen of the name in two ways, and bash then completes no options: clap#6421.
    let script =
        String::from_utf8_lossy(&script).replace("webhook__subcmd__guard", "webhook__guard");
    output::print_as_is(script.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a man page for each command into a folder.
pub(super) fn man(arguments: &ManArguments) -> Result {
    let folder = &arguments.folder;
    write_pages(folder).map_err(|error| {
        let folder = folder.display();
        Failure::new(format!(
            "{folder}: the pages cannot be written: {error}: name another folder"
        ))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn write_pages(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut program = Arguments::command().disable_help_subcommand(true);
    program.build();
    let commands = program.get_subcommands().cloned();
    for command in commands.chain([program.clone()]) {
        let page = Man::new(command);
        let mut text = Vec::new();
        page.render(&mut text)?;
        let text = keep_lines(&String::from_utf8_lossy(&text));
        fs::write(folder.join(page.get_filename()), text)?;
    }
    Ok(())
}

/// The page with the lines of the examples as they are. Otherwise `man` joins and hyphenates them.
fn keep_lines(page: &str) -> String {
    let Some((before, examples)) = page.split_once(".SH EXTRA\n") else {
        return page.to_owned();
    };
    let end = examples.find(".SH ").unwrap_or(examples.len());
    let (examples, after) = examples.split_at(end);
    format!(
        "{before}.SH NOTES\n.nf\n{}\n.fi\n{after}",
        examples.trim_end()
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser as _;

    use super::*;

    /// The commands in lines of code, without what a shell does with them.
    fn commands(text: &str) -> Vec<String> {
        let lines = text.lines().map(str::trim);
        let lines =
            lines.filter(|line| !line.starts_with(['|', '*', '#', '-']) && !line.contains('`'));
        let starts = lines.filter_map(|line| line.split_once("webhook-guard "));
        let arguments = |line: &str| line.split(['|', '>', ')', '#']).next().map(str::to_owned);
        let arguments = starts.filter_map(|(_, line)| arguments(line));
        arguments
            .map(|arguments| format!("webhook-guard {arguments}"))
            .collect()
    }

    #[test]
    fn every_example_has_arguments_that_exist() {
        let helps = [
            COMMANDS,
            CHECK,
            SIGN,
            VERIFY,
            EXPLAIN,
            PROVIDERS,
            VERSION,
            COMPLETIONS,
            MAN,
        ];
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let pages = [
            "README.md",
            "src/cli/README.md",
            "envoy/README.md",
            "envoy/configuration.md",
            "envoy/monitoring/README.md",
        ];
        let pages = pages.map(|page| fs::read_to_string(root.join(page)).unwrap());
        let texts = helps.into_iter().chain(pages.iter().map(String::as_str));
        let mut tried = 0;
        for command in texts.flat_map(commands) {
            let words = shlex::split(&command).unwrap();
            if let Err(error) = Arguments::try_parse_from(words) {
                panic!("{command}: {error}");
            }
            tried += 1;
        }
        assert!(tried > 20, "{tried}");
    }
}
