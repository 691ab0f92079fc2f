//! Where settings come from: the environment, a file `.env` behind it, and what either says in the words of another
//! system, brought into ours before anything is parsed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clap::{Arg, Command};

use super::dot_env::{self, BadLine};
use super::names::{self, Meaning, OTHERS, Other, Says};
use super::web;

/// Most characters that a mistyped name is away from a right one.
const TYPO_EDITS_MAX: usize = 2;
/// Shorter names are too easily near to something.
const TYPO_CHARS_MIN: usize = 6;

/// Why a name in other words than ours is not heard.
const GIVES_WAY: &str = "our own name says the same thing more exactly, and wins";

/// Where a value stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The environment of the process.
    Environment,
    /// The file `.env` in the working directory.
    DotEnv,
}

/// Names and values from outside, before anybody knows what they mean.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    values: BTreeMap<String, (String, Place)>,
    problems: Vec<String>,
}

impl Sources {
    /// The environment of this process.
    pub fn of_process() -> Self {
        let named = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let mut sources = Self::default();
        for (name, value) in named {
            match value.into_string() {
                Ok(value) => sources.put(name, value, Place::Environment),
                Err(_) => sources.problems.push(format!("{name}: the value is not UTF-8")),
            }
        }
        sources
    }

    /// The same, and behind it the file `.env` of `dir`, if there is one.
    pub fn of_process_in(dir: &Path) -> Self {
        Self::of_process().behind(&dir.join(".env"))
    }

    /// From pairs, for tests and for programs that have their own idea of an environment.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut sources = Self::default();
        for (name, value) in pairs {
            sources.put(name.to_owned(), value.to_owned(), Place::Environment);
        }
        sources
    }

    /// With a file behind it, whose values hold where the environment says nothing.
    #[must_use]
    pub fn behind(mut self, file: &Path) -> Self {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return self,
            Err(error) => {
                self.problems.push(format!(".env: {error}"));
                return self;
            }
        };
        match dot_env::parse(&text, |name| self.get(name).map(|(value, _)| value.clone())) {
            // The last line about a name holds.
            Ok(entries) => {
                entries.into_iter().rev().for_each(|(name, value)| self.put(name, value, Place::DotEnv));
            }
            // The line may hold a secret.
            Err(BadLine(line)) => self.problems.push(format!(".env: line {line} cannot be read")),
        }
        self
    }

    /// An empty value is none: files of settings are full of names that nobody filled in.
    fn put(&mut self, name: String, value: String, place: Place) {
        if !value.is_empty() {
            self.values.entry(name).or_insert((value, place));
        }
    }

    fn get(&self, name: &str) -> Option<&(String, Place)> {
        self.values.get(name)
    }
}

/// A value for one of our settings, in our words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// In our words.
    pub value: String,
    /// Where it stood.
    pub place: Place,
    /// Under which other name, if it was not ours.
    pub alias: Option<&'static str>,
}

/// What an environment says about the settings of a command and its subcommands.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// By our name.
    pub settings: BTreeMap<String, Setting>,
    /// What is wrong, with the name of the setting.
    pub problems: Vec<(String, String)>,
    /// Names that are taken without effect, and why.
    pub ignored: Vec<(&'static str, &'static str)>,
    /// Names that may say only what holds anyway and say something else, and the sentence with which they are refused.
    pub refused: Vec<(&'static str, String)>,
    /// Names that nobody knows and that look as if somebody meant us.
    pub unknown: Vec<String>,
}

impl Resolved {
    /// Brings an environment into the words of the command's settings.
    pub fn new(sources: &Sources, command: &Command) -> Self {
        let mut arguments = BTreeMap::new();
        collect(command, &mut arguments);
        let mut resolved = Self::default();
        let problems = sources.problems.iter().map(|text| text.split_once(": ").unwrap_or((".env", text)));
        // What others keep in the environment is theirs.
        let is_ours = |name: &str| {
            name == ".env" || arguments.contains_key(name) || OTHERS.iter().any(|other| other.name == name)
        };
        let ours = problems.filter(|(name, _)| is_ours(name));
        resolved.problems.extend(ours.map(|(name, what)| (name.to_owned(), what.to_owned())));
        for (name, argument) in &arguments {
            resolved.settle(sources, name, argument);
        }
        for other in OTHERS {
            if let Some((value, _)) = sources.get(other.name) {
                resolved.hear(other, value);
            }
        }
        resolved.unknown = unknown(sources, &arguments.keys().map(String::as_str).collect());
        resolved
    }

    /// Names that are no setting of ours, in whatever words.
    fn hear(&mut self, other: &Other, value: &str) {
        match other.meaning {
            Meaning::Nothing(why) => self.ignored.push((other.name, why)),
            Meaning::Only(holds, why) if !holds(value) => self.refused.push((other.name, why.to_owned())),
            Meaning::Only(..) | Meaning::Is(_) | Meaning::Says(..) => {}
        }
    }

    fn settle(&mut self, sources: &Sources, name: &str, argument: &Arg) {
        let mut chosen: Option<(Setting, &str)> = None;
        let spellings = std::iter::once((name, None)).chain(names::of(name).map(|other| (other.name, Some(other))));
        for (spelled, other) in spellings {
            let Some((raw, place)) = sources.get(spelled) else { continue };
            let value = match other.map(|other| &other.meaning) {
                Some(Meaning::Says(_, read)) => match read(raw) {
                    Says::Value(value) => value.to_owned(),
                    Says::Unless(value) if chosen.is_none() => value.to_owned(),
                    Says::Unless(_) => {
                        self.ignored.extend(other.map(|other| (other.name, GIVES_WAY)));
                        continue;
                    }
                    Says::AsItIs => continue,
                    Says::Unreadable => {
                        let text = format!("\"{raw}\" is not one of true, false (from {spelled})");
                        self.problems.push((name.to_owned(), text));
                        continue;
                    }
                },
                _ => in_our_words(name, argument, raw),
            };
            let setting = Setting { value, place: *place, alias: other.map(|other| other.name) };
            match &chosen {
                Some((first, known_as)) if !is_same(name, &first.value, &setting.value) => {
                    let text = format!("{known_as} and {spelled} say different things; remove one of them");
                    self.problems.push((name.to_owned(), text));
                }
                Some(_) => {}
                None => chosen = Some((setting, spelled)),
            }
        }
        let Some((setting, spelled)) = chosen else { return };
        match refusal(argument, &setting.value) {
            None => {
                self.settings.insert(name.to_owned(), setting);
            }
            Some(why) if spelled == name => self.problems.push((name.to_owned(), why)),
            Some(why) => self.problems.push((name.to_owned(), format!("{why} (from {spelled})"))),
        }
    }

    /// The command with these values as its defaults, so that arguments win over them. It asks no environment itself.
    #[must_use]
    pub fn apply(&self, command: Command) -> Command {
        command.mut_args(|argument| self.apply_to(argument)).mut_subcommands(|command| self.apply(command))
    }

    fn apply_to(&self, argument: Arg) -> Arg {
        let Some(name) = environment_name(&argument) else { return argument };
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let others: String = names::of(&name).map(|other| format!(", {}", other.name)).collect();
        let argument = argument.env(None::<&'static str>).help(format!("{help} [env: {name}{others}]"));
        let Some(setting) = self.settings.get(&name) else { return argument };
        let argument = argument.hide_default_value(true);
        match argument.get_value_delimiter() {
            Some(delimiter) => {
                let values: Vec<String> = setting.value.split(delimiter).map(str::to_owned).collect();
                argument.default_values(values)
            }
            None => argument.default_value(setting.value.clone()),
        }
    }
}

/// The name under which an argument is set by the environment.
pub(crate) fn environment_name(argument: &Arg) -> Option<String> {
    argument.get_env().and_then(|name| name.to_str()).map(str::to_owned)
}

fn collect(command: &Command, arguments: &mut BTreeMap<String, Arg>) {
    for argument in command.get_arguments() {
        if let Some(name) = environment_name(argument) {
            arguments.entry(name).or_insert_with(|| argument.clone());
        }
    }
    command.get_subcommands().for_each(|command| collect(command, arguments));
}

/// Why the argument would not take the value.
fn refusal(argument: &Arg, value: &str) -> Option<String> {
    let id = argument.get_id().as_str().to_owned();
    let alone = argument.clone().env(None::<&'static str>).long(id.clone());
    let command = Command::new("setting").no_binary_name(true).disable_help_flag(true).arg(alone);
    let error = command.try_get_matches_from([format!("--{id}={value}")]).err()?;
    if argument.is_hide_env_values_set() {
        return Some("the value cannot be read".to_owned());
    }
    let source = std::error::Error::source(&error).map(ToString::to_string);
    let possible: Vec<String> =
        argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    Some(match source {
        Some(why) => format!("\"{value}\": {why}"),
        None if !possible.is_empty() => format!("\"{value}\" is not one of {}", possible.join(", ")),
        None => format!("\"{value}\" cannot be read"),
    })
}

fn is_same(name: &str, one: &str, other: &str) -> bool {
    let origins = |text: &str| web::list(text).map(|list| list.into_iter().collect::<BTreeSet<_>>());
    one == other || (name == "CORS_ORIGINS" && matches!((origins(one), origins(other)), (Ok(a), Ok(b)) if a == b))
}

/// How our parsers would say it.
fn in_our_words(name: &str, argument: &Arg, raw: &str) -> String {
    let text = raw.trim();
    match name {
        "ENV" => match text.to_ascii_lowercase().as_str() {
            "development" | "local" => "dev".to_owned(),
            "production" => "prod".to_owned(),
            "stage" => "staging".to_owned(),
            other => other.to_owned(),
        },
        "LOG_LEVEL" => match text.to_ascii_lowercase().as_str() {
            "warning" => "warn".to_owned(),
            "critical" | "fatal" => "error".to_owned(),
            // A filter per module names modules, whose spelling counts.
            level @ ("error" | "warn" | "info" | "debug" | "trace") => level.to_owned(),
            _ => text.to_owned(),
        },
        "DATABASE_URL" => database_url(text),
        "JWT_ALG" => text.to_ascii_uppercase(),
        _ if LISTS.contains(&name) => comma_list(raw),
        _ => match argument.get_possible_values() {
            possible if possible.is_empty() => raw.to_owned(),
            possible if possible.iter().any(|value| value.get_name() == "true") => {
                names::boolean(text).map_or_else(|| text.to_owned(), |yes| yes.to_string())
            }
            _ => text.to_ascii_lowercase(),
        },
    }
}

/// Settings that are lists of words, which one system writes between commas and another as JSON.
const LISTS: [&str; 6] = [
    "TRUSTED_PROXIES",
    "CAMPUS_NETWORKS",
    "METRICS_NETWORKS",
    "OAUTH_ALLOWED_REDIRECT_URIS",
    "MFA_REQUIRED_ROLES",
    "UPLOAD_ALLOWED_IMAGE_TYPES",
];

/// Commas between the words; what is no list in brackets stays as it is, and is refused as such where it is read.
fn comma_list(raw: &str) -> String {
    web::in_brackets(raw).map_or_else(|| raw.to_owned(), |words| words.join(","))
}

/// An address as SQLAlchemy writes it: with a driver, and a path that is relative after three slashes and a dot.
fn database_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let scheme = scheme.split_once('+').map_or(scheme, |(dialect, _driver)| dialect);
    match rest.strip_prefix("/.") {
        Some(relative) if scheme == "sqlite" => format!("sqlite://.{relative}"),
        _ => format!("{scheme}://{rest}"),
    }
}

/// Names that look as if they were meant for us: in `.env`, with one of our prefixes, or a slip away from ours.
fn unknown(sources: &Sources, known: &BTreeSet<&str>) -> Vec<String> {
    let elsewhere = OTHERS.iter().map(|other| other.name);
    let names: BTreeSet<&str> = known.iter().copied().chain(elsewhere).collect();
    let prefixes: BTreeSet<&str> = known.iter().filter_map(|name| prefix(name)).collect();
    let mut told = Vec::new();
    for (name, (_, place)) in &sources.values {
        if names.contains(name.as_str()) {
            continue;
        }
        let near = nearest(name, &names);
        let is_ours = *place == Place::DotEnv || prefix(name).is_some_and(|own| prefixes.contains(own));
        match near {
            Some(near) => told.push(format!("{name} is not known; did you mean {near}?")),
            None if is_ours => told.push(format!("{name} is not known")),
            None => {}
        }
    }
    told
}

/// Prefixes of ours that nobody else uses for something of their own.
fn prefix(name: &str) -> Option<&str> {
    const SHARED: [&str; 7] = ["HOST", "PORT", "DATA", "DATABASE", "PUBLIC", "IP", "ALLOW"];
    name.split_once('_').map(|(prefix, _)| prefix).filter(|prefix| !SHARED.contains(prefix))
}

fn nearest<'a>(name: &str, names: &BTreeSet<&'a str>) -> Option<&'a str> {
    if name.len() < TYPO_CHARS_MIN {
        return None;
    }
    // Ours are ASCII. Lengths are compared first: that is all that most names of an environment need.
    let chars = name.chars().count();
    let long_enough =
        names.iter().filter(|known| known.len() >= TYPO_CHARS_MIN && known.len().abs_diff(chars) <= TYPO_EDITS_MAX);
    let measured = long_enough.map(|known| (strsim::osa_distance(name, known), *known));
    measured.filter(|(edits, _)| *edits <= TYPO_EDITS_MAX).min().map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_other_systems_are_understood() {
        for (theirs, ours) in [
            ("postgresql+psycopg2://u:p@h:5432/d", "postgresql://u:p@h:5432/d"),
            ("postgresql+asyncpg://u:p@h/d?sslmode=require", "postgresql://u:p@h/d?sslmode=require"),
            ("sqlite:///./smavs_dev.db", "sqlite://./smavs_dev.db"),
            ("sqlite:////var/lib/m.db", "sqlite:////var/lib/m.db"),
            ("sqlite:///var/lib/m.db", "sqlite:///var/lib/m.db"),
        ] {
            assert_eq!(database_url(theirs), ours);
        }
    }

    #[test]
    fn every_other_name_is_there_once_and_is_about_a_setting_or_says_why_not() {
        let command = <crate::config::Config as clap::Args>::augment_args(Command::new("serve"));
        let mut arguments = BTreeMap::new();
        collect(&command, &mut arguments);
        let mut seen = BTreeSet::new();
        for other in OTHERS {
            assert!(seen.insert(other.name), "{} is there twice", other.name);
            assert!(!arguments.contains_key(other.name), "{} is a setting, too", other.name);
            match other.ours() {
                Some(ours) => assert!(arguments.contains_key(ours), "{} is about {ours}, which is none", other.name),
                None => assert!(other.sentence().is_some_and(|why| why.len() > 20), "{} says nothing", other.name),
            }
        }
    }
}
