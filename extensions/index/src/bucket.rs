//! One bucket: a tantivy index in a directory of its own.
//!
//! States: closed -> (checked) open -> broken, and then made anew. A bucket answers only once all of its files were read and are
//! what was written: tantivy trusts what it maps into memory. Whatever fails closes the bucket; whoever writes next finds it
//! gone and begins an empty one.

use crate::limits::Limits;
use crate::owned::{Owned, user_term};
use crate::places::Places;
use crate::schema::{FORMAT, Fields};
use crate::terms::Terms;
use mailstore::face::{EmailId, ModSeq, UserId};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy, MergePolicy, NoMergePolicy};
use tantivy::query::{BooleanQuery, Occur, Query, TermQuery};
use tantivy::schema::IndexRecordOption;
use tantivy::{Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, TantivyDocument, Term};

/// Why a bucket could not be written or read. It is made anew; nobody but the operator needs to know.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    #[error("the index: {0}")]
    Index(#[from] tantivy::TantivyError),
    #[error("the directory of the index: {0}")]
    Directory(#[from] std::io::Error),
    #[error("files of the index are damaged")]
    Damaged,
}

#[derive(Debug)]
pub struct Bucket {
    dir: PathBuf,
    opened: RwLock<Option<Arc<Opened>>>,
    /// Held by the one who opens, writes or drops.
    changing: Mutex<()>,
}

/// An index that is open.
pub struct Opened {
    pub fields: Fields,
    index: Index,
    reader: IndexReader,
    places: Mutex<Kept>,
}

/// Places of mailboxes: never ahead of what is committed.
#[derive(Debug, Default)]
struct Kept {
    places: Places,
    /// Not all of it is in a commit.
    waits: bool,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").finish_non_exhaustive()
    }
}

/// The name of the file that says what an index is.
const FORMAT_FILE: &str = "format";

impl Bucket {
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, opened: RwLock::new(None), changing: Mutex::new(()) }
    }

    /// The index, if it is open.
    #[must_use]
    pub fn opened(&self) -> Option<Arc<Opened>> {
        self.opened.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, opened: Option<Arc<Opened>>) {
        *self.opened.write().unwrap_or_else(PoisonError::into_inner) = opened;
    }

    /// Opens what is there, or an empty index where nothing is or nothing sound. Reads all of it.
    ///
    /// # Errors
    /// When the directory can't be made.
    pub fn open(&self) -> Result<Arc<Opened>, BucketError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = self.opened() {
            return Ok(opened);
        }
        let opened = match Opened::sound(&self.dir) {
            Ok(opened) => opened,
            Err(_) => Opened::empty(&self.dir)?,
        };
        let opened = Arc::new(opened);
        self.set(Some(Arc::clone(&opened)));
        Ok(opened)
    }

    /// Closes the index and deletes its files.
    ///
    /// # Errors
    /// When they can't be deleted.
    pub fn drop_all(&self) -> Result<(), BucketError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.set(None);
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether there are files of it.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.dir.exists()
    }

    /// Answers no more, until it is opened anew: then its files are read again, and deleted unless they are sound.
    pub fn close(&self) {
        self.set(None);
    }

    /// Bytes of its files.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum()
    }
}

impl Opened {
    /// What is in the directory, all of it read and compared with its checksums.
    fn sound(dir: &Path) -> Result<Self, BucketError> {
        if fs::read_to_string(dir.join(FORMAT_FILE))? != FORMAT.to_string() {
            return Err(BucketError::Damaged);
        }
        let index = Index::open_in_dir(dir)?;
        let fields = Fields::new();
        if index.schema() != fields.schema || !index.validate_checksum()?.is_empty() {
            return Err(BucketError::Damaged);
        }
        Self::reading(index, fields)
    }

    fn empty(dir: &Path) -> Result<Self, BucketError> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        let fields = Fields::new();
        let index = Index::create_in_dir(dir, fields.schema.clone())?;
        fs::write(dir.join(FORMAT_FILE), FORMAT.to_string())?;
        Self::reading(index, fields)
    }

    fn reading(index: Index, fields: Fields) -> Result<Self, BucketError> {
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        // What is unreadable is as if it were not there: the mailboxes are looked at.
        let payload = index.load_metas()?.payload;
        let places = payload.and_then(|payload| Places::decode(&payload)).unwrap_or_default();
        let places = Mutex::new(Kept { places, waits: false });
        Ok(Self { fields, index, reader, places })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to where the log of a mailbox is dealt with.
    #[must_use]
    pub fn place(&self, user: UserId) -> Option<ModSeq> {
        self.kept().places.get(user)
    }

    /// Whether some of the places are in memory alone.
    #[must_use]
    pub fn places_wait(&self) -> bool {
        self.kept().waits
    }

    /// Everything of these mailboxes up to there is committed. It is durable with the next commit.
    pub fn pass(&self, passed: impl IntoIterator<Item = (UserId, ModSeq)>) {
        let mut kept = self.kept();
        for (user, place) in passed {
            if kept.places.get(user) != Some(place) {
                kept.places.set(user, place);
                kept.waits = true;
            }
        }
    }

    /// What is held of the mailbox may have gaps.
    pub fn forget_place(&self, user: UserId) {
        let mut kept = self.kept();
        kept.waits |= kept.places.remove(user);
    }

    /// What was committed.
    #[must_use]
    pub fn searcher(&self) -> Searcher {
        self.reader.searcher()
    }

    /// The messages of a user that it holds, rising.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn held(&self, user: UserId) -> Result<Vec<EmailId>, BucketError> {
        let mut held = Vec::new();
        for segment in self.searcher().segment_readers() {
            held.extend(Owned::of(segment, &self.fields, user)?.emails(segment)?);
        }
        held.sort_unstable();
        Ok(held)
    }

    /// Every user of whom it holds something.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn users(&self) -> Result<Vec<UserId>, BucketError> {
        let mut users = Vec::new();
        for segment in self.searcher().segment_readers() {
            let index = segment.inverted_index(self.fields.user)?;
            let mut terms = index.terms().stream()?;
            while terms.advance() {
                if let Ok(bytes) = <[u8; 8]>::try_from(terms.key()) {
                    users.push(UserId(u64::from_be_bytes(bytes)));
                }
            }
        }
        users.sort_unstable();
        users.dedup();
        Ok(users)
    }
}

/// The one who changes a bucket. What was added is seen when it is committed.
pub struct Writing {
    opened: Arc<Opened>,
    writer: IndexWriter,
}

impl std::fmt::Debug for Writing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writing").finish_non_exhaustive()
    }
}

impl Writing {
    /// # Errors
    /// When another process writes, or the disk does not let it.
    pub fn begin(opened: Arc<Opened>, limits: &Limits) -> Result<Self, BucketError> {
        let mut policy = LogMergePolicy::default();
        policy.set_min_layer_size(1_000);
        policy.set_del_docs_ratio_before_merge(0.3);
        Self::with(opened, limits, Box::new(policy))
    }

    /// As [`Writing::begin`], for places alone: nothing is merged.
    ///
    /// # Errors
    /// As there.
    pub fn of_places(opened: Arc<Opened>, limits: &Limits) -> Result<Self, BucketError> {
        Self::with(opened, limits, Box::new(NoMergePolicy))
    }

    fn with(
        opened: Arc<Opened>,
        limits: &Limits,
        policy: Box<dyn MergePolicy>,
    ) -> Result<Self, BucketError> {
        let options = IndexWriterOptions::builder()
            .memory_budget_per_thread(limits.writer_bytes)
            .num_worker_threads(1)
            .num_merge_threads(1)
            .build();
        let writer: IndexWriter = opened.index.writer_with_options(options)?;
        writer.set_merge_policy(policy);
        Ok(Self { opened, writer })
    }

    /// Whether it writes this one, and not one that was closed since.
    #[must_use]
    pub fn is_of(&self, opened: &Arc<Opened>) -> bool {
        Arc::ptr_eq(&self.opened, opened)
    }

    /// # Errors
    /// When the disk does not let it.
    pub fn add(&self, of: (UserId, EmailId), terms: &Terms) -> Result<(), BucketError> {
        let fields = &self.opened.fields;
        let mut document = TantivyDocument::default();
        document.add_u64(fields.user, of.0.0);
        document.add_u64(fields.email, of.1.0);
        document.add_text(fields.body, &terms.body.terms);
        document.add_text(fields.head, &terms.head.terms);
        self.writer.add_document(document)?;
        Ok(())
    }

    /// # Errors
    /// When the disk does not let it.
    pub fn remove(&self, (user, email): (UserId, EmailId)) -> Result<(), BucketError> {
        let fields = &self.opened.fields;
        let term = |term: Term| -> Box<dyn Query> {
            Box::new(TermQuery::new(term, IndexRecordOption::Basic))
        };
        let both = vec![
            (Occur::Must, term(user_term(fields, user))),
            (Occur::Must, term(Term::from_field_u64(fields.email, email.0))),
        ];
        self.writer.delete_query(Box::new(BooleanQuery::new(both)))?;
        Ok(())
    }

    pub fn remove_user(&self, user: UserId) {
        self.writer.delete_term(user_term(&self.opened.fields, user));
    }

    /// Everything so far is durable, then it is seen: with it these mailboxes are dealt with up to there.
    ///
    /// # Errors
    /// When the disk does not let it: nothing since the last commit is in the index.
    pub fn commit(
        &mut self,
        passed: impl IntoIterator<Item = (UserId, ModSeq)>,
    ) -> Result<(), BucketError> {
        let mut places = self.opened.kept().places.clone();
        passed.into_iter().for_each(|(user, place)| places.set(user, place));
        let mut prepared = self.writer.prepare_commit()?;
        prepared.set_payload(&places.encode());
        prepared.commit()?;
        *self.opened.kept() = Kept { places, waits: false };
        self.opened.reader.reload()?;
        Ok(())
    }

    /// Nobody whom `stays` does not name has a place, with the next commit.
    pub fn retain_places(&self, stays: &dyn Fn(UserId) -> bool) {
        self.opened.kept().places.retain(stays);
    }

    /// Waits until segments that are being merged are.
    ///
    /// # Errors
    /// When merging failed: the index is as it was before.
    pub fn end(self) -> Result<(), BucketError> {
        self.writer.wait_merging_threads()?;
        self.opened.reader.reload()?;
        Ok(())
    }
}
