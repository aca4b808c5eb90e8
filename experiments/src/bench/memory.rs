//! Memory of this process and of the machine, where the system tells (Linux).

/// MiB from a line of `/proc/self/status`.
fn status(field: &str) -> Option<f64> {
    mib("/proc/self/status", field)
}

/// Memory of the machine, by its name in `/proc/meminfo`, in MiB.
#[must_use]
pub fn machine(field: &str) -> Option<f64> {
    mib("/proc/meminfo", field)
}

fn mib(file: &str, field: &str) -> Option<f64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// Memory of this process now, in MiB.
#[must_use]
pub fn resident() -> Option<f64> {
    status("VmRSS")
}

/// Forgets the highest memory so far and gives what is in use now, in MiB.
#[must_use]
pub fn reset_peak() -> Option<f64> {
    // `5` resets the high-water mark; where that is not allowed, there is no figure.
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    resident()
}

/// The highest memory since [`reset_peak`] beyond what it gave, in MiB.
#[must_use]
pub fn peak_since(before: Option<f64>) -> Option<f64> {
    Some((status("VmHWM")? - before?).max(0.0))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_is_seen() {
        let Some(before) = reset_peak() else { return };
        let buffer = vec![1u8; 64 << 20];
        assert!(buffer.iter().all(|&b| b == 1));
        let peak = peak_since(Some(before)).expect("Linux tells");
        assert!(peak > 50.0, "{peak} MiB");
    }
}
