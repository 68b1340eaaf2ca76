//! Rates: a rate is a plain `f64`, seconds per second (1e-6 is one part per million); positive means *runs fast*.
//! People read ppm, programs ppb; the conversions live here so that the factor is written once.

/// One part per million as a rate.
pub const PPM: f64 = 1e-6;
/// One part per billion as a rate.
pub const PPB: f64 = 1e-9;

/// Rate from parts per million.
#[must_use]
pub const fn rate_from_ppm(ppm: f64) -> f64 {
    ppm * PPM
}

/// Rate from parts per billion.
#[must_use]
pub const fn rate_from_ppb(ppb: f64) -> f64 {
    ppb * PPB
}

/// Parts per million from a rate.
#[must_use]
pub const fn rate_to_ppm(rate: f64) -> f64 {
    rate / PPM
}

/// Parts per billion from a rate.
#[must_use]
pub const fn rate_to_ppb(rate: f64) -> f64 {
    rate / PPB
}
