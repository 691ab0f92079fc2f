//! One import: read, compare, write.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::apply::{Refused, apply};
use super::error::RosterError;
use super::existing::Existing;
use super::limits::{self, Limits};
use super::people::Roster;
use super::plan::{self, Ids, Plan};
use super::progress::{Progress, Stage};
use super::report::{Elapsed, Report};
use super::source::Source;
use super::{Format, Options, oneroster, plain};
use crate::audit::Actor;
use crate::clock::{Clock, Entropy, Stopwatch};
use crate::db::{Db, DbError, Tx};
use crate::ids::UserId;
use crate::{auth, courses, jobs};

/// With what an import works.
pub struct Importer<'a> {
    /// Where it is written.
    pub db: &'a Db,
    /// What time it is.
    pub clock: &'a dyn Clock,
    /// Makes ids.
    pub entropy: &'a dyn Entropy,
    /// Who imports, and where.
    pub actor: Actor,
    /// Who stands as the creator of new courses; the oldest admin, if nobody is named.
    pub created_by: Option<UserId>,
    /// What a roster may be.
    pub limits: Limits,
    /// Who is told how far it is.
    pub progress: Progress,
}

/// What was imported.
#[derive(Debug)]
pub struct Imported {
    /// What was found and done.
    pub report: Report,
    /// Accounts whose role changed or whose access ended.
    pub ended: Vec<UserId>,
}

impl Importer<'_> {
    /// Reads the roster at `path`, compares it with what is there, and writes what differs. Blocks.
    ///
    /// # Errors
    /// When it is no roster, or when nothing could be written. Rows that are bad stand in the report.
    pub fn import(&self, path: &Path, name: &str, options: Options) -> Result<Imported, RosterError> {
        let watch = Stopwatch::start();
        let roster = self.read(path, name, options)?;
        let read = watch.elapsed().as_millis() as u64;
        let roster = Arc::new(roster);
        self.settle_forms(options)?;
        for _ in 0..limits::ATTEMPTS_MAX {
            let watch = Stopwatch::start();
            let (plan, mut report, created_by) = self.compare(&roster, options)?;
            report.elapsed_ms = Elapsed { read, compare: watch.elapsed().as_millis() as u64, write: 0 };
            if options.dry_run {
                return Ok(Imported { report, ended: Vec::new() });
            }
            if options.strict && report.bad_rows > 0 {
                return Err(RosterError::Strict(Box::new(report)));
            }
            let watch = Stopwatch::start();
            match self.write(created_by, plan, &report) {
                Ok(ended) => {
                    report.applied = true;
                    report.elapsed_ms.write = watch.elapsed().as_millis() as u64;
                    return Ok(Imported { report, ended });
                }
                Err(Refused::Stale) => {}
                Err(refused) => return Err(refused.into()),
            }
        }
        Err(RosterError::Contended)
    }

    /// Texts of an earlier release are brought into form by a job of the server. Before it ran, people and courses of a roster
    /// would not be found under their names, and be made once more.
    fn settle_forms(&self, options: Options) -> Result<(), RosterError> {
        let waits = |tx: &Tx<'_>| {
            let (users, courses) = (jobs::counts(tx, auth::FORMS_JOB)?, jobs::counts(tx, courses::FORMS_JOB)?);
            Ok::<_, DbError>(users.pending + courses.pending > 0)
        };
        if !self.db.read_blocking(waits)? {
            return Ok(());
        }
        if options.dry_run {
            return Err(RosterError::NotInForm);
        }
        auth::settle_forms(self.db, &self.actor.tenant, self.clock.now_ms())?;
        let tenant = self.actor.tenant.clone();
        Ok(self.db.write_blocking::<_, DbError, _>(move |tx| courses::settle_forms(tx, &tenant))?)
    }

    fn read(&self, path: &Path, name: &str, options: Options) -> Result<Roster, RosterError> {
        let mut source = Source::open(path, self.limits)?;
        let format = match (options.format, &source) {
            (Format::Auto, Source::File(_)) => Format::Csv,
            (Format::Auto, _) => Format::OneRoster,
            (format, _) => format,
        };
        let roster = match (format, &mut source) {
            (Format::Csv, Source::File(path)) => {
                let file = File::open(path).map_err(|error| RosterError::Io(name.to_owned(), error))?;
                plain::read(name, file, self.limits, &self.progress)
            }
            (Format::Csv, _) => {
                let what = "a plain CSV is one file, and this is a set of files";
                Err(RosterError::invalid(name, what, "name the file, or use --format oneroster"))
            }
            (_, source) => oneroster::read(source, self.limits, self.today(), &self.progress),
        }?;
        if options.disable_missing && !roster.names_everybody {
            let what = "this roster does not say that it names everybody, so nobody is missing from it";
            let fix = "disable-missing is for OneRoster sets whose manifest says file.users,bulk";
            return Err(RosterError::invalid(name, what, fix));
        }
        Ok(roster)
    }

    fn compare(&self, roster: &Arc<Roster>, options: Options) -> Result<(Plan, Report, Option<UserId>), RosterError> {
        self.progress.tell(Stage::Compare, 0, 0);
        let (tenant, named) = (self.actor.tenant.clone(), Arc::clone(roster));
        let now_ms = self.clock.now_ms();
        let existing = self.db.read_blocking::<_, DbError, _>(move |tx| Existing::read(tx, &tenant, &named, now_ms))?;
        let created_by = self.created_by.or_else(|| existing.oldest_admin());
        let ids = Ids { clock: self.clock, entropy: self.entropy };
        let (plan, report) = plan::make(roster, &existing, (&self.actor.tenant, options), ids);
        if created_by.is_none() && !plan.new_courses.is_empty() {
            return Err(RosterError::NoAdmin);
        }
        Ok((plan, report, created_by))
    }

    /// The one transaction. An import that changes nothing writes nothing, not even that it was.
    fn write(&self, created_by: Option<UserId>, plan: Plan, report: &Report) -> Result<Vec<UserId>, Refused> {
        if plan.len() == 0 {
            return Ok(Vec::new());
        }
        let ended = plan.changed_users.iter().filter(|change| change.disables || change.role.0 != change.role.1);
        let ended: Vec<UserId> = ended.map(|change| change.id).collect();
        // Without new courses nobody is named as a creator.
        let created_by = created_by.unwrap_or(UserId::from_bytes([0; 16]));
        let (actor, report, progress) = (self.actor.clone(), report.clone(), self.progress.clone());
        self.db.write_blocking(move |tx| apply(tx, &actor, created_by, (&plan, &report), &progress))?;
        Ok(ended)
    }

    fn today(&self) -> jiff::civil::Date {
        let now = jiff::Timestamp::from_millisecond(self.clock.now_ms()).unwrap_or_default();
        now.to_zoned(jiff::tz::TimeZone::UTC).date()
    }
}
