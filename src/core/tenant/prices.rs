//! The operator's prices, as every tenant's object knows them. A change raises the version of the
//! configuration, as that of a secret does: workers that decide with older prices are told to decide again,
//! and a recorded decision names all that it was made of by one number.

use super::{Tenant, Write};
use crate::price::PriceBook;
use crate::protocol::Reply;
use crate::units::Timestamp;
use std::rc::Rc;

impl Tenant {
    /// Takes them over, unless it knows these or later ones: they may be sent twice, and in any order.
    pub(super) fn learn_prices(&mut self, now: Timestamp, book: PriceBook, writes: &mut Vec<Write>) -> Reply {
        if self.config.is_none() {
            return Reply::NoTenant;
        }
        if self.keep_prices(book, writes) {
            self.raise_version(now, writes);
        }
        Reply::Done
    }

    /// Keeps them. Whether they are newer than what it knows.
    pub(super) fn keep_prices(&mut self, book: PriceBook, writes: &mut Vec<Write>) -> bool {
        let newer = self.prices.as_ref().map_or(0, |known| known.version) < book.version;
        if newer {
            writes.push(Write::Prices(Box::new(book.clone())));
            self.prices = Some(Rc::new(book));
        }
        newer
    }

    /// For workers. A book without rows says no more than none.
    pub(super) fn operator_prices(&self) -> Option<Box<PriceBook>> {
        self.prices.as_ref().filter(|book| !book.prices.is_empty()).map(|book| Box::new(PriceBook::clone(book)))
    }
}
