//! SQLite's way to a [`Disk`]: a VFS that every connection of this process uses. All unsafe code of the simulation is here.
#![expect(unsafe_code, reason = "SQLite calls a VFS through C function pointers")]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, Once, PoisonError};

use rusqlite::ffi;

use crate::disk::{Disk, DiskError, SECTOR_BYTES};

/// Longest path.
const PATH_BYTES_MAX: c_int = 1024;
/// What SQLite appends to a database's name for the files beside it.
const SUFFIXES: [&str; 3] = ["-wal", "-journal", "-shm"];

/// The disks by the path of their database.
static MOUNTED: Mutex<BTreeMap<String, Arc<Disk>>> = Mutex::new(BTreeMap::new());
static NEXT_HOLDER: AtomicU64 = AtomicU64::new(1);

/// Puts a disk where SQLite finds it under `path`, and makes this VFS the one that SQLite uses.
pub(crate) fn mount(path: &str, disk: &Arc<Disk>) {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(register);
    MOUNTED.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), Arc::clone(disk));
}

/// Takes a disk away.
pub(crate) fn unmount(path: &str) {
    MOUNTED.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
}

/// The disk of a path, and which of its files the path means.
fn find(path: &str) -> Option<(Arc<Disk>, &str)> {
    let suffix = SUFFIXES.into_iter().find(|suffix| path.ends_with(suffix)).unwrap_or("");
    let database = &path[..path.len() - suffix.len()];
    let disk = MOUNTED.lock().unwrap_or_else(PoisonError::into_inner).get(database).cloned()?;
    Some((disk, &path[database.len()..]))
}

/// An open file. SQLite owns the memory and sees only its first field.
#[repr(C)]
struct Handle {
    base: ffi::sqlite3_file,
    open: *mut Open,
}

struct Open {
    disk: Arc<Disk>,
    name: String,
    holder: u64,
    delete_on_close: bool,
    /// Keeps the shared memory alive as long as SQLite may look at it.
    regions: Vec<crate::disk::Region>,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

fn register() {
    let vfs = Box::new(ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: size_of::<Handle>() as c_int,
        mxPathname: PATH_BYTES_MAX,
        pNext: std::ptr::null_mut(),
        zName: c"muster-simulation".as_ptr(),
        pAppData: std::ptr::null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: Some(last_error),
        xCurrentTimeInt64: Some(current_time_int64),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    });
    // SAFETY: the VFS is leaked, so it lives as long as the process; every function that it names is below.
    let code = unsafe { ffi::sqlite3_vfs_register(Box::leak(vfs), 1) };
    assert_eq!(code, ffi::SQLITE_OK, "SQLite takes the VFS");
}

/// The file behind a handle.
///
/// # Safety
/// `file` is a handle that `open` filled and `close` has not been called on; SQLite uses it from one thread at a time.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Open {
    // SAFETY: as above; SQLite gives us back the pointer whose memory `open` filled with a `Handle`.
    unsafe { &mut *(*file.cast::<Handle>()).open }
}

/// A path that SQLite passes.
///
/// # Safety
/// `name` points to a text that ends with 0 and outlives the call.
unsafe fn text<'a>(name: *const c_char) -> Option<&'a str> {
    // SAFETY: as above.
    unsafe { CStr::from_ptr(name) }.to_str().ok()
}

fn code(result: Result<(), DiskError>, io: c_int) -> c_int {
    match result {
        Ok(()) => ffi::SQLITE_OK,
        Err(DiskError::Full) => ffi::SQLITE_FULL,
        Err(DiskError::Io) => io,
    }
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives `szOsFile` bytes for the handle; without methods it does not call `close`.
    unsafe { (*file).pMethods = std::ptr::null() };
    let (disk, name) = if name.is_null() {
        // A temporary file is nobody's business and dies with its connection.
        (Disk::with(BTreeMap::new()), String::new())
    } else {
        // SAFETY: a file name of SQLite ends with 0.
        let Some((disk, name)) = (unsafe { text(name) }).and_then(find) else { return ffi::SQLITE_CANTOPEN };
        (disk, name.to_owned())
    };
    if disk.create(&name).is_err() {
        return ffi::SQLITE_CANTOPEN;
    }
    let delete_on_close = flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0;
    let holder = NEXT_HOLDER.fetch_add(1, Ordering::Relaxed);
    let open = Box::into_raw(Box::new(Open { disk, name, holder, delete_on_close, regions: Vec::new() }));
    // SAFETY: the memory is ours to fill, and `out_flags` is null or writable.
    unsafe {
        file.cast::<Handle>().write(Handle { base: ffi::sqlite3_file { pMethods: &raw const METHODS }, open });
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: `open` made the box, and SQLite closes a file once.
    let open = unsafe { Box::from_raw((*file.cast::<Handle>()).open) };
    open.disk.unlock_file(open.holder, 0);
    if open.delete_on_close {
        let _ = open.disk.delete(&open.name);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, into: *mut c_void, len: c_int, offset: i64) -> c_int {
    // SAFETY: an open file, and a buffer of `len` bytes.
    let (open, into) = unsafe { (opened(file), std::slice::from_raw_parts_mut(into.cast::<u8>(), len as usize)) };
    let read = open.disk.read(&open.name, offset as usize, into);
    into[read..].fill(0);
    if read == into.len() { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_SHORT_READ }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, len: c_int, offset: i64) -> c_int {
    // SAFETY: an open file, and `len` bytes to write.
    let (open, from) = unsafe { (opened(file), std::slice::from_raw_parts(from.cast::<u8>(), len as usize)) };
    code(open.disk.write(&open.name, offset as usize, from), ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    code(open.disk.truncate(&open.name, size as usize), ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    code(open.disk.flush(&open.name), ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: an open file, and a place for the answer.
    unsafe { *size = opened(file).disk.size(&opened(file).name) as i64 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    if open.disk.lock_file(open.holder, level) { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    open.disk.unlock_file(open.holder, level);
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, answer: *mut c_int) -> c_int {
    // SAFETY: an open file, and a place for the answer.
    unsafe { *answer = c_int::from(opened(file).disk.is_reserved()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_BYTES as c_int
}

unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    // A torn write harms no sector beside it; SQLite's own VFS for Unix says so too.
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    index: c_int,
    size: c_int,
    make: c_int,
    answer: *mut *mut c_void,
) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    let region = open.disk.region(open.holder, index as usize, make != 0);
    let pointer = region.as_ref().map_or(std::ptr::null_mut(), |region| region.as_ptr().cast_mut().cast());
    if region.as_ref().is_some_and(|region| region.len() * 8 < size as usize) {
        return ffi::SQLITE_IOERR_SHMSIZE;
    }
    open.regions.extend(region);
    // SAFETY: a place for the answer. The region is made of atomics and kept in `regions` until SQLite unmaps it.
    unsafe { *answer = pointer };
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, first: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    let slots = first as usize..(first + count) as usize;
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        open.disk.unlock_region(open.holder, slots);
        return ffi::SQLITE_OK;
    }
    let exclusive = flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
    if open.disk.lock_region(open.holder, slots, exclusive) { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }
}

unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    open.disk.unlock_region(open.holder, 0..8);
    open.disk.leave_regions(open.holder);
    open.regions.clear();
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, _: c_int) -> c_int {
    // SAFETY: a path that ends with 0.
    match (unsafe { text(name) }).and_then(find) {
        Some((disk, name)) if disk.exists(name) => code(disk.delete(name), ffi::SQLITE_IOERR_DELETE),
        _ => ffi::SQLITE_IOERR_DELETE_NOENT,
    }
}

unsafe extern "C" fn access(_: *mut ffi::sqlite3_vfs, name: *const c_char, _: c_int, answer: *mut c_int) -> c_int {
    // SAFETY: a path that ends with 0, and a place for the answer.
    unsafe {
        let found = text(name).and_then(find).is_some_and(|(disk, name)| disk.exists(name));
        *answer = c_int::from(found);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    len: c_int,
    into: *mut c_char,
) -> c_int {
    // SAFETY: a path that ends with 0, and a buffer of `len` bytes.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > len as usize {
            return ffi::SQLITE_CANTOPEN;
        }
        std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), into, bytes.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(_: *mut ffi::sqlite3_vfs, len: c_int, into: *mut c_char) -> c_int {
    // SAFETY: a buffer of `len` bytes. What SQLite draws from it salts checksums; nothing that a seed must repeat.
    unsafe { std::ptr::write_bytes(into, 0x5a, len as usize) };
    len
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    std::thread::yield_now();
    microseconds
}

/// Noon of a day in 2025, as a Julian day number.
const JULIAN_DAY: f64 = 2_461_000.0;

unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, answer: *mut f64) -> c_int {
    // SAFETY: a place for the answer.
    unsafe { *answer = JULIAN_DAY };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time_int64(_: *mut ffi::sqlite3_vfs, answer: *mut i64) -> c_int {
    // SAFETY: a place for the answer.
    unsafe { *answer = (JULIAN_DAY * 86_400_000.0) as i64 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}
