//! A column's pages, counted: a page may not hold more numbers than its group has left.
//!
//! A few bytes can say "the same number two billion times". What the footer says of a group is checked when it is opened;
//! here, the pages are held to it.

use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};

pub(super) struct Pages {
    inner: Box<dyn PageReader>,
    /// Numbers the group has left.
    left: i64,
}

impl Pages {
    pub(super) fn new(inner: Box<dyn PageReader>, numbers: i64) -> Self {
        Self {
            inner,
            left: numbers,
        }
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.inner.get_next_page()?;
        if let Some(page) = &page
            && !page.is_dictionary_page()
        {
            let numbers = i64::from(page.num_values());
            if numbers > self.left {
                let left = self.left;
                return Err(ParquetError::General(format!(
                    "a page of {numbers} numbers where the footer leaves {left}"
                )));
            }
            self.left -= numbers;
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.inner.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.inner.at_record_boundary()
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
