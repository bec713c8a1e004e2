//! Completions in a real bash, man pages in a real formatter, and standard output that closes.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};
use std::{env, fs};

fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_webhook-guard"))
}

fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The words that bash offers for the last word of a line.
fn offered(line: &[&str]) -> Vec<String> {
    let script = stdout(command().args(["completions", "bash"]).output().unwrap());
    let script = format!(
        "{script}
        function=$(complete -p webhook-guard | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        COMP_WORDS=(\"$@\")
        COMP_CWORD=$(($# - 1))
        \"$function\" \"$1\" \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"
        printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", &script, "bash"]).args(line);
    let output = stdout(bash.output().unwrap());
    output.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_values_and_presets() {
    assert_eq!(offered(&["webhook-guard", "exp"]), ["explain"]);
    assert_eq!(
        offered(&["webhook-guard", "verify", "--req"]),
        ["--request"]
    );
    assert_eq!(
        offered(&["webhook-guard", "check", "--format", "s"]),
        ["sarif"]
    );
    let presets = offered(&["webhook-guard", "providers", "hub"]);
    assert_eq!(presets, ["hubspot", "hubspot-v1", "hubspot-v2"]);
}

#[test]
fn the_version_has_the_commit() {
    let version = stdout(command().arg("--version").output().unwrap());
    let git = Command::new("git").args(["rev-parse", "HEAD"]).output();
    // A tarball is not a repository.
    let commit = git.map(|output| String::from_utf8(output.stdout).unwrap());
    match commit.as_deref().map(str::trim) {
        Ok("") | Err(_) => assert_eq!(version, "webhook-guard 0.1.0\n"),
        Ok(commit) => assert!(
            version.starts_with(&format!("webhook-guard 0.1.0 ({}", &commit[..12])),
            "{version}"
        ),
    }
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = stdout(command().args(["completions", shell]).output().unwrap());
        assert!(script.contains("explain"), "{shell}");
    }
}

/// The first formatter of man pages on this machine, with its arguments for warnings.
fn formatter() -> Option<Command> {
    let formatters = [
        vec!["groff", "-man", "-Tascii", "-ww"],
        vec!["mandoc", "-Tascii", "-Wwarning"],
    ];
    formatters.into_iter().find_map(|words| {
        let (program, arguments) = words.split_first()?;
        let mut version = Command::new(program);
        version.stdout(Stdio::null()).stderr(Stdio::null());
        version.arg("/dev/null").status().ok()?;
        let mut formatter = Command::new(program);
        formatter.args(arguments);
        Some(formatter)
    })
}

#[test]
fn every_command_has_a_man_page_without_warnings() {
    let folder = env::temp_dir().join(format!("webhook-guard-man-{}", std::process::id()));
    stdout(command().arg("man").arg(&folder).output().unwrap());
    let help = stdout(command().arg("--help").output().unwrap());
    let commands = help.split("Commands:\n").nth(1).unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let mut pages = 0;
    for name in commands.filter_map(|line| line.split_whitespace().next()) {
        if name == "help" {
            continue;
        }
        let page = folder.join(format!("webhook-guard-{name}.1"));
        let text = fs::read_to_string(&page).unwrap();
        assert!(text.contains("Examples:"), "{name}");
        if let Some(mut formatter) = formatter() {
            let output = formatter.arg(&page).output().unwrap();
            assert!(output.stderr.is_empty(), "{name}: {output:?}");
            // An example stays on its line.
            let text = stdout(output);
            assert!(text.contains("webhook-guard"), "{name}: {text}");
        }
        pages += 1;
    }
    assert!(pages >= 7, "{pages}");
    assert!(folder.join("webhook-guard.1").exists());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_reader_that_leaves_ends_a_command_quietly() {
    // The JSON of all presets is larger than a pipe.
    let mut child = command()
        .args(["providers", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(16, child.stdout.take().unwrap());
    reader.read_line(&mut line).unwrap();
    drop(reader);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

/// A full disk is not a reader that leaves.
#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = command().arg("providers").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.starts_with("webhook-guard: standard output: "),
        "{text}"
    );
}

#[test]
fn colours_are_on_a_terminal_alone_and_not_with_no_color() {
    let program = env!("CARGO_BIN_EXE_webhook-guard");
    let plain = stdout(command().args(["providers", "hub"]).output().unwrap());
    assert!(!plain.contains('\u{1b}'));
    // Python's standard library has pseudo-terminals.
    let script = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))";
    let on_terminal = |no_color: &str| {
        let mut python = Command::new("python3");
        python.args(["-c", script, program, "providers", "hub"]);
        python.stdin(Stdio::null());
        python.env("TERM", "xterm").env("NO_COLOR", no_color);
        stdout(python.output().unwrap())
    };
    assert!(on_terminal("").contains("\u{1b}[1mhubspot\u{1b}[0m"));
    assert!(!on_terminal("1").contains('\u{1b}'));
}

/// The two commands fit: what one prints, the other reads.
#[test]
fn verify_reads_the_curl_command_that_sign_prints() {
    let folder = std::env::temp_dir().join(format!("webhook-guard-fit-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (body, command) = (folder.join("body.json"), folder.join("command"));
    std::fs::write(&body, "{\"order\": \"it's \u{e9}\"}\r\n").unwrap();
    let run = |arguments: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_webhook-guard"))
            .args(arguments)
            .env("WEBHOOK_SECRET", "dev-only-webhook-secret")
            .output()
            .unwrap()
    };
    let config = ["--config", "envoy/envoy.yaml"];
    for format in ["curl", "http"] {
        let signed = run(&[
            &["sign", "--body", body.to_str().unwrap(), "--format", format],
            &config[..],
        ]
        .concat());
        std::fs::write(&command, signed.stdout).unwrap();
        let verified = run(&[
            &["verify", "--request", command.to_str().unwrap()],
            &config[..],
        ]
        .concat());
        assert!(verified.status.success(), "{format}: {verified:?}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}
