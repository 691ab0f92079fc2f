//! The settings as they take effect: which value, from where, and what is wrong with them. Secrets are only counted.

use std::collections::BTreeMap;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches};
use serde::{Serialize, Serializer};

use super::sources::environment_name;
use super::{Arguments, Config, Place, Resolved, Sources, idle, names};

/// From where a value comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The environment of the process.
    Environment,
    /// The file `.env`.
    DotEnv,
    /// Another system's name for the setting.
    Alias(&'static str),
    /// The command line.
    Argument,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Environment => f.write_str("environment"),
            Self::DotEnv => f.write_str(".env"),
            Self::Alias(name) => write!(f, "alias {name}"),
            Self::Argument => f.write_str("argument"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its name in the environment.
    pub name: String,
    /// As it takes effect; `None` where nothing is set and the server decides, as the help says.
    pub value: Option<String>,
    /// From where it comes.
    pub origin: Origin,
}

/// A name that is taken without effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ignored {
    /// The name.
    pub name: &'static str,
    /// Why.
    pub why: &'static str,
}

/// All settings, and what is to be said about them.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The settings, in the order of the help.
    pub settings: Vec<Row>,
    /// What stops a start.
    pub problems: Vec<String>,
    /// Names that are taken without effect.
    pub ignored: Vec<Ignored>,
    /// Names that nobody knows.
    pub unknown: Vec<String>,
    /// What does not stop a start and surprises later.
    pub warnings: Vec<String>,
}

impl Report {
    /// Looks at everything that `muster serve` would get from these sources and arguments.
    ///
    /// # Errors
    /// When an argument cannot be read; the text is for a person at the terminal.
    pub fn new(sources: &Sources, arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let command = Arguments::command();
        let resolved = Resolved::new(sources, &command);
        let arguments = std::iter::once("muster serve".to_owned()).chain(arguments);
        let matches = resolved.apply(command).try_get_matches_from(arguments);
        Ok(Self::of(&resolved, &matches.map_err(|error| error.to_string())?))
    }

    /// The same of a command line that was read already.
    pub fn of(resolved: &Resolved, matches: &ArgMatches) -> Self {
        let command = Arguments::command();
        let rows = command.get_arguments().filter_map(|argument| row(argument, matches, resolved));
        let (settings, set): (Vec<Row>, Vec<bool>) = rows.unzip();
        let told = resolved.problems.iter().map(|(name, text)| (name.as_str(), text));
        let told = told.chain(resolved.refused.iter().map(|(name, text)| (*name, text)));
        let mut problems: Vec<String> = told.map(|(name, text)| format!("{name}: {text}")).collect();
        let mut warnings = Vec::new();
        match Arguments::from_arg_matches(matches) {
            Ok(parsed) => {
                problems.extend(mistakes(&parsed.config));
                let set = settings.iter().zip(set).filter(|(_, set)| *set).map(|(row, _)| row.name.as_str());
                warnings.extend(idle::sentences(&parsed.config, set));
            }
            Err(error) => problems.push(error.to_string()),
        }
        let ignored = resolved.ignored.iter().map(|(name, why)| Ignored { name, why }).collect();
        Self { settings, problems, ignored, unknown: resolved.unknown.clone(), warnings }
    }

    /// What should be said at a start, though it does not stop it.
    pub fn remarks(&self) -> Vec<String> {
        let ignored = self.ignored.iter().map(|ignored| format!("{} is ignored: {}", ignored.name, ignored.why));
        ignored.chain(self.unknown.iter().cloned()).chain(self.warnings.iter().cloned()).collect()
    }

    /// The values by name.
    pub fn by_name(&self) -> BTreeMap<&str, &Row> {
        self.settings.iter().map(|row| (row.name.as_str(), row)).collect()
    }
}

fn mistakes(config: &Config) -> Vec<String> {
    config.check().err().map_or_else(Vec::new, |error| error.each().iter().map(ToString::to_string).collect())
}

/// A setting as it takes effect, and whether somebody set it to something else than it is by itself.
fn row(argument: &Arg, matches: &ArgMatches, resolved: &Resolved) -> Option<(Row, bool)> {
    let name = environment_name(argument)?;
    let id = argument.get_id().as_str();
    let setting = resolved.settings.get(&name);
    let default = argument.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
    let (value, origin) = if matches.value_source(id) == Some(ValueSource::CommandLine) {
        let given: Vec<String> =
            matches.get_raw(id).into_iter().flatten().map(|value| value.to_string_lossy().into_owned()).collect();
        (Some(given.join(",")), Origin::Argument)
    } else if let Some(setting) = setting {
        let origin = match (setting.alias, setting.place) {
            (Some(alias), _) => Origin::Alias(alias),
            (None, Place::Environment) => Origin::Environment,
            (None, Place::DotEnv) => Origin::DotEnv,
        };
        (Some(setting.value.clone()), origin)
    } else {
        (default.clone(), Origin::Default)
    };
    let set = origin != Origin::Default && value != default;
    let shown = value.map(|value| if argument.is_hide_env_values_set() { counted(&value) } else { value });
    Some((Row { name, value: shown, origin }, set))
}

/// Every setting as a file `.env`, with its help and its default, so that uncommenting a line changes nothing.
pub fn example() -> String {
    let mut text =
        "# Every setting of `muster serve`. Copy this file to `.env` in the working directory, or set the names in the\n\
         # environment, which wins. `muster config check` shows what takes effect, and what is wrong with it. Names in\n\
         # brackets are those of the replaced systems, and are understood, too; those without effect are at the end.\n"
            .to_owned();
    for argument in Arguments::command().get_arguments() {
        let Some(name) = environment_name(argument) else { continue };
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let possible: Vec<String> =
            argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        let default = argument.get_default_values().first().map(|value| value.to_string_lossy()).unwrap_or_default();
        text.push('\n');
        for line in wrapped(&help, LINE_CHARS) {
            text.push_str(&format!("# {line}\n"));
        }
        if !possible.is_empty() {
            text.push_str(&format!("# One of: {}.\n", possible.join(", ")));
        }
        let others: Vec<&str> = names::of(&name).map(|other| other.name).collect();
        for line in wrapped(&others.join(", "), LINE_CHARS) {
            text.push_str(&format!("# [{line}]\n"));
        }
        let quote = if default.contains([' ', '<', '$', '#']) { "'" } else { "" };
        text.push_str(&format!("#{name}={quote}{default}{quote}\n"));
    }
    text.push_str("\n# Names of the replaced systems that change nothing here.\n");
    for other in names::OTHERS {
        let Some(sentence) = other.sentence() else { continue };
        text.push_str("#\n");
        for line in wrapped(&format!("{}: {sentence}", other.name), LINE_CHARS) {
            text.push_str(&format!("# {line}\n"));
        }
    }
    text
}

/// Characters of a line of help.
const LINE_CHARS: usize = 110;

fn wrapped(text: &str, chars_max: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= chars_max => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn counted(secret: &str) -> String {
    format!("set ({} bytes)", secret.len())
}
