//! From a picture to the tensor that a network takes: shrinking without aliasing, then sampling along a similarity.

use std::borrow::Cow;
use std::ops::Range;

/// An RGB picture, three bytes a pixel, row by row.
#[derive(Clone, Debug)]
pub struct Pixels<'a> {
    width: usize,
    height: usize,
    rgb: Cow<'a, [u8]>,
}

/// Maps a place in the output to a place in the picture: `(a·x − b·y + tx, b·x + a·y + ty)`, in pixel edges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    /// The scale times the cosine of the turn.
    pub a: f32,
    /// The scale times the sine of the turn.
    pub b: f32,
    /// The shift to the right.
    pub tx: f32,
    /// The shift down.
    pub ty: f32,
}

impl Similarity {
    /// The same map for a picture that is half as large.
    fn halved(self) -> Self {
        Self { a: self.a / 2.0, b: self.b / 2.0, tx: self.tx / 2.0, ty: self.ty / 2.0 }
    }

    /// The map that goes through `first` and then through this one.
    #[must_use]
    pub fn after(self, first: Self) -> Self {
        let (tx, ty) = self.apply(first.tx, first.ty);
        Self { a: self.a * first.a - self.b * first.b, b: self.a * first.b + self.b * first.a, tx, ty }
    }

    /// Where a place in the output lies in the picture.
    #[must_use]
    pub fn apply(self, x: f32, y: f32) -> (f32, f32) {
        (self.a * x - self.b * y + self.tx, self.b * x + self.a * y + self.ty)
    }
}

impl<'a> Pixels<'a> {
    /// Takes a picture; none if the bytes are not three for every pixel, or there is no pixel.
    #[must_use]
    pub fn new(width: usize, height: usize, rgb: &'a [u8]) -> Option<Self> {
        let n_bytes = width.checked_mul(height)?.checked_mul(3)?;
        (n_bytes > 0 && n_bytes == rgb.len()).then_some(Self { width, height, rgb: Cow::Borrowed(rgb) })
    }

    /// The width in pixels.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The height in pixels.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// The picture at half its size: each pixel is the mean of four.
    #[must_use]
    pub fn halved(&self) -> Pixels<'static> {
        let (width, height) = ((self.width / 2).max(1), (self.height / 2).max(1));
        let mut rgb = Vec::with_capacity(width * height * 3);
        for y in 0..height {
            let top = self.row(2 * y);
            let bottom = self.row(2 * y + 1);
            for x in 0..width {
                let left = 2 * x * 3;
                let right = (2 * x + 1).min(self.width - 1) * 3;
                for channel in 0..3 {
                    let sum = u16::from(top[left + channel])
                        + u16::from(top[right + channel])
                        + u16::from(bottom[left + channel])
                        + u16::from(bottom[right + channel]);
                    rgb.push(((sum + 2) / 4) as u8);
                }
            }
        }
        Pixels { width, height, rgb: Cow::Owned(rgb) }
    }

    fn row(&self, y: usize) -> &[u8] {
        let y = y.min(self.height - 1);
        &self.rgb[y * self.width * 3..(y + 1) * self.width * 3]
    }
}

/// A picture with its halves, quarters and so on, made once and sampled many times.
pub struct Pyramid<'a> {
    levels: Vec<Pixels<'a>>,
}

impl<'a> Pyramid<'a> {
    /// Halves a picture until it is no larger than `side_min` on its longer side.
    #[must_use]
    pub fn new(pixels: Pixels<'a>, side_min: usize) -> Self {
        let mut levels = vec![pixels];
        while let Some(last) = levels.last()
            && last.width.max(last.height) > side_min
            && last.width.min(last.height) > 1
        {
            let half = last.halved();
            levels.push(half);
        }
        Self { levels }
    }

    /// The picture in full size.
    #[must_use]
    pub fn base(&self) -> &Pixels<'a> {
        &self.levels[0]
    }

    /// Fills a square of `side` pixels, channels first, values from 0 to 255; what lies outside the picture is black.
    ///
    /// Only output pixels in these columns and rows are sampled, the others stay black.
    #[must_use]
    pub fn sample(&self, similarity: Similarity, side: usize, columns: Range<usize>, rows: Range<usize>) -> Vec<f32> {
        let mut similarity = similarity;
        let mut level = 0;
        // A step of at most two pixels keeps bilinear sampling from skipping any.
        while similarity.a.hypot(similarity.b) >= 2.0 && level + 1 < self.levels.len() {
            similarity = similarity.halved();
            level += 1;
        }
        let pixels = &self.levels[level];
        let plane = side * side;
        let mut out = vec![0.0; 3 * plane];
        for y in rows.start..rows.end.min(side) {
            for x in columns.start..columns.end.min(side) {
                let (u, v) = similarity.apply(x as f32 + 0.5, y as f32 + 0.5);
                let [red, green, blue] = bilinear(pixels, u, v);
                let place = y * side + x;
                out[place] = red;
                out[plane + place] = green;
                out[2 * plane + place] = blue;
            }
        }
        out
    }
}

/// The colour at a place between pixel centres; black outside.
fn bilinear(pixels: &Pixels<'_>, u: f32, v: f32) -> [f32; 3] {
    let (width, height) = (pixels.width as f32, pixels.height as f32);
    if !(u >= 0.0 && v >= 0.0 && u < width && v < height) {
        return [0.0; 3];
    }
    let (u, v) = ((u - 0.5).clamp(0.0, width - 1.0), (v - 0.5).clamp(0.0, height - 1.0));
    let (left, top) = (u as usize, v as usize);
    let (right, bottom) = ((left + 1).min(pixels.width - 1), (top + 1).min(pixels.height - 1));
    let (fx, fy) = (u - left as f32, v - top as f32);
    let at = |x: usize, y: usize| {
        let place = (y * pixels.width + x) * 3;
        &pixels.rgb[place..place + 3]
    };
    let (a, b, c, d) = (at(left, top), at(right, top), at(left, bottom), at(right, bottom));
    let mut colour = [0.0; 3];
    for channel in 0..3 {
        let upper = f32::from(a[channel]) * (1.0 - fx) + f32::from(b[channel]) * fx;
        let lower = f32::from(c[channel]) * (1.0 - fx) + f32::from(d[channel]) * fx;
        colour[channel] = upper * (1.0 - fy) + lower * fy;
    }
    colour
}

/// Turns a square of channels-first values left to right.
#[must_use]
pub fn mirrored(values: &[f32], side: usize) -> Vec<f32> {
    values.chunks_exact(side).flat_map(|row| row.iter().rev().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Similarity = Similarity { a: 1.0, b: 0.0, tx: 0.0, ty: 0.0 };

    #[test]
    fn an_unscaled_picture_is_copied_and_the_rest_is_black() {
        let rgb = [10, 20, 30, 40, 50, 60];
        let pyramid = Pyramid::new(Pixels::new(2, 1, &rgb).unwrap(), 8);
        let out = pyramid.sample(IDENTITY, 2, 0..2, 0..2);
        assert_eq!(out, [10.0, 40.0, 0.0, 0.0, 20.0, 50.0, 0.0, 0.0, 30.0, 60.0, 0.0, 0.0]);
        assert_eq!(mirrored(&out, 2)[..2], [40.0, 10.0]);
    }

    #[test]
    fn a_large_step_takes_the_mean_instead_of_one_pixel() {
        let rgb: Vec<u8> = (0..64_u16).flat_map(|index| [if index % 2 == 0 { 0 } else { 200 }; 3]).collect();
        let pyramid = Pyramid::new(Pixels::new(64, 1, &rgb).unwrap(), 1);
        let quarter = Similarity { a: 2.0, ..IDENTITY };
        assert_eq!(pyramid.levels.len(), 1, "a row of one pixel is not halved");
        assert_eq!(pyramid.sample(quarter, 1, 0..1, 0..1).len(), 3);
        let square: Vec<u8> = (0..64 * 64_u16).flat_map(|index| [if index % 2 == 0 { 0 } else { 200 }; 3]).collect();
        let pyramid = Pyramid::new(Pixels::new(64, 64, &square).unwrap(), 1);
        assert!(
            pyramid.sample(Similarity { a: 4.0, ..IDENTITY }, 16, 0..16, 0..16).iter().all(|value| *value == 100.0)
        );
    }

    #[test]
    fn one_map_after_another_goes_through_both() {
        let (first, second) =
            (Similarity { a: 0.5, b: -2.0, tx: 3.0, ty: 4.0 }, Similarity { a: 1.5, b: 0.5, tx: -7.0, ty: 1.0 });
        for (x, y) in [(0.0, 0.0), (1.0, 0.0), (-3.0, 8.0)] {
            let (u, v) = first.apply(x, y);
            assert_eq!(second.after(first).apply(x, y), second.apply(u, v));
        }
    }

    #[test]
    fn bytes_that_are_not_a_picture_are_refused() {
        assert!(Pixels::new(2, 2, &[0; 11]).is_none());
        assert!(Pixels::new(0, 2, &[]).is_none());
    }
}
