//! Who has which address, user name and registry's id once an import is done. They are unique then, and not on the way
//! there: two people may exchange theirs, and what one gives up another one may take.

use std::collections::HashMap;

/// How many kinds of names there are, and their order.
const KINDS: usize = 3;
/// What each kind is called in a report.
pub(super) const COLUMNS: [&str; KINDS] = ["email", "username", "external_id"];

/// An address, a user name and the registry's id.
pub(super) type Names<'a> = [Option<&'a str>; KINDS];

/// What a row asks for.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    /// Whose names change; nobody's when it is a new account.
    pub(super) account: Option<usize>,
    /// How they are to be.
    pub(super) names: Names<'a>,
}

/// Which account has each name before the import.
pub(super) type Owners<'a> = [&'a HashMap<&'a str, usize>; KINDS];

/// What became of the wishes.
pub(super) struct Judged {
    /// For each wish, the kind of name because of which it cannot be.
    pub(super) refused: Vec<Option<usize>>,
    /// For each wish, whether another one takes a name that its account gives up.
    pub(super) makes_room: Vec<bool>,
}

/// Judges wishes in their order: of two that want one name the first one gets it, and whoever keeps a name keeps it.
pub(super) fn judge<'a>(before: impl Fn(usize) -> Names<'a>, owners: Owners<'a>, wishes: &[Wish<'a>]) -> Judged {
    let of_account = wishes.iter().enumerate().filter_map(|(index, wish)| Some((wish.account?, index))).collect();
    let taken = std::array::from_fn(|_| HashMap::new());
    let mut round = Round { before, owners, wishes, of_account, taken, refused: vec![None; wishes.len()] };
    for index in 0..wishes.len() {
        match round.obstacle(index) {
            Some(kind) => round.refuse(index, kind),
            None => round.take(index),
        }
    }
    let makes_room = (0..wishes.len()).map(|index| round.makes_room(index)).collect();
    Judged { makes_room, refused: round.refused }
}

struct Round<'a, 'w, B> {
    before: B,
    owners: Owners<'a>,
    wishes: &'w [Wish<'a>],
    /// The wish about each account.
    of_account: HashMap<usize, usize>,
    /// The wish that has each name, so far.
    taken: [HashMap<&'a str, usize>; KINDS],
    refused: Vec<Option<usize>>,
}

impl<'a, B: Fn(usize) -> Names<'a>> Round<'a, '_, B> {
    /// The first kind of name that somebody else has, or keeps.
    fn obstacle(&self, index: usize) -> Option<usize> {
        let wish = &self.wishes[index];
        (0..KINDS).find(|kind| {
            wish.names[*kind].is_some_and(|name| {
                let kept = self.owners[*kind]
                    .get(name)
                    .is_some_and(|owner| wish.account != Some(*owner) && self.keeps(*owner, *kind, name));
                kept || self.taken[*kind].contains_key(name)
            })
        })
    }

    fn keeps(&self, account: usize, kind: usize, name: &str) -> bool {
        self.of_account
            .get(&account)
            .is_none_or(|index| self.refused[*index].is_some() || self.wishes[*index].names[kind] == Some(name))
    }

    fn take(&mut self, index: usize) {
        for (taken, name) in self.taken.iter_mut().zip(self.wishes[index].names) {
            taken.extend(name.map(|name| (name, index)));
        }
    }

    /// Whoever is refused keeps the old names, so that whoever has taken one of those is refused too.
    fn refuse(&mut self, index: usize, kind: usize) {
        let mut waiting = vec![(index, kind)];
        while let Some((index, kind)) = waiting.pop() {
            if self.refused[index].replace(kind).is_some() {
                continue;
            }
            let Wish { account, names } = self.wishes[index];
            let before = account.map_or([None; KINDS], |account| (self.before)(account));
            for kind in 0..KINDS {
                if let Some(name) = names[kind].filter(|name| self.taken[kind].get(name) == Some(&index)) {
                    self.taken[kind].remove(name);
                }
                let taker = before[kind].and_then(|name| self.taken[kind].get(name));
                waiting.extend(taker.map(|taker| (*taker, kind)));
            }
        }
    }

    fn makes_room(&self, index: usize) -> bool {
        let account = self.wishes[index].account.filter(|_| self.refused[index].is_none());
        account.is_some_and(|account| {
            let before = (self.before)(account);
            (0..KINDS).any(|kind| {
                before[kind].and_then(|name| self.taken[kind].get(name)).is_some_and(|taker| *taker != index)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Account = (&'static str, &'static str);
    /// Whose, and the address and user name that they are to have.
    type Asked = (Option<usize>, &'static str, &'static str);

    fn refused(accounts: &[Account], asked: &[Asked]) -> (Vec<Option<usize>>, Vec<bool>) {
        let name = |text: &'static str| Some(text).filter(|text| !text.is_empty());
        let before = |account: usize| [name(accounts[account].0), name(accounts[account].1), None];
        let by = |kind: usize| -> HashMap<&str, usize> {
            (0..accounts.len()).filter_map(|account| Some((before(account)[kind]?, account))).collect()
        };
        let owners = [by(0), by(1), by(2)];
        let wish = |asked: &Asked| Wish { account: asked.0, names: [name(asked.1), name(asked.2), None] };
        let wishes: Vec<Wish<'_>> = asked.iter().map(wish).collect();
        let judged = judge(before, [&owners[0], &owners[1], &owners[2]], &wishes);
        (judged.refused, judged.makes_room)
    }

    #[test]
    fn names_that_are_given_up_are_free() {
        let two = [("a", "x"), ("b", "y")];
        assert_eq!(refused(&two, &[(Some(0), "b", "x"), (Some(1), "c", "y")]).0, [None, None], "a chain");
        assert_eq!(refused(&two, &[(Some(1), "c", "y"), (Some(0), "b", "x")]).0, [None, None], "in any order");
        let swapped = refused(&two, &[(Some(0), "b", "y"), (Some(1), "a", "x")]);
        assert_eq!(swapped, (vec![None, None], vec![true, true]));
        assert_eq!(refused(&two, &[(Some(0), "c", "x"), (None, "a", "")]).0, [None, None], "also for a new account");
    }

    #[test]
    fn names_that_stay_are_not() {
        let two = [("a", "x"), ("b", "y")];
        assert_eq!(refused(&two, &[(Some(0), "b", "x")]), (vec![Some(0)], vec![false]), "nobody speaks for b");
        assert_eq!(refused(&two, &[(Some(0), "a", "y"), (Some(1), "b", "y")]).0, [Some(1), None], "b keeps it");
        assert_eq!(refused(&two, &[(Some(0), "c", "x"), (Some(1), "c", "y")]).0, [None, Some(0)], "the first one");
        assert_eq!(refused(&two, &[(Some(0), "a", "x"), (None, "d", "x")]).0, [None, Some(1)]);
    }

    #[test]
    fn whoever_is_refused_gives_nothing_up() {
        let three = [("a", ""), ("b", ""), ("c", "z")];
        // a wants b's, b wants c's, and c is not in the roster: so b stays, and a does too.
        assert_eq!(refused(&three, &[(Some(0), "b", ""), (Some(1), "c", "")]).0, [Some(0), Some(0)]);
        let asked = [(Some(0), "b", ""), (None, "a", ""), (Some(1), "d", "z")];
        assert_eq!(refused(&three, &asked).0, [Some(0), Some(0), Some(1)], "all along the chain");
    }
}
