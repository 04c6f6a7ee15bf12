//! What one sandbox may take: linear memory and tables.

use wasmtime::ResourceLimiter;

/// Bounds of one sandbox, from `[plugins.NAME]`.
#[derive(Debug, Clone, Copy)]
pub struct SandboxLimits {
    /// Linear memory, in bytes.
    pub memory_bytes: usize,
    /// Table elements.
    pub table_elements: usize,
}

/// Enforces [`SandboxLimits`] and remembers what was refused, because the guest only sees a failed
/// allocation and usually aborts.
#[derive(Debug)]
pub struct Limiter {
    limits: SandboxLimits,
    memory_refused: bool,
    growths: u32,
    memory_bytes: usize,
}

impl Limiter {
    /// Of a fresh sandbox.
    pub fn new(limits: SandboxLimits) -> Self {
        Self {
            limits,
            memory_refused: false,
            growths: 0,
            memory_bytes: 0,
        }
    }

    /// Of a sandbox that is as fresh, and has so much memory already.
    pub fn with_memory(limits: SandboxLimits, memory_bytes: usize) -> Self {
        Self {
            memory_bytes,
            ..Self::new(limits)
        }
    }

    /// A reused sandbox begins its next call: what earlier ones were refused is not its fault, nor their growth.
    pub fn begin_call(&mut self) {
        self.memory_refused = false;
        self.growths = 0;
    }

    /// Whether the guest asked for more memory than it may have.
    pub fn memory_refused(&self) -> bool {
        self.memory_refused
    }

    /// The bound on linear memory, in bytes.
    pub fn memory_limit(&self) -> usize {
        self.limits.memory_bytes
    }

    /// How often memory grew during the call, after it was made. A growth costs more than an ordinary call.
    pub fn growths(&self) -> u32 {
        self.growths
    }

    /// Linear memory in use, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > self.limits.memory_bytes || maximum.is_some_and(|maximum| desired > maximum) {
            self.memory_refused = true;
            return Ok(false);
        }
        if current > 0 {
            self.growths += 1;
        }
        self.memory_bytes = desired;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= self.limits.table_elements && maximum.is_none_or(|maximum| desired <= maximum))
    }
}
