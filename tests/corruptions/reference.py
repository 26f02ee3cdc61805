"""The corruptions written a second time: one image, float64, SciPy, scikit-image and OpenCV.

It is an oracle for distributions and pixels, in the order of the published description. It shares
only the table of constants with augmax_jax. `rng` is a NumPy generator.
"""

import io

import cv2
import numpy as np
import scipy.ndimage as ndi
import skimage.color
from PIL import Image


def _blur(x, sigma):
    """Gaussian over the two spatial axes, edge repeated."""
    sigmas = (sigma, sigma) + (0,) * (x.ndim - 2)
    return ndi.gaussian_filter(np.asarray(x, float), sigmas, mode="nearest", truncate=4.0)


def _clipped_zoom(x, z):
    size = x.shape[0]
    crop = int(np.ceil(size / z))
    top = (size - crop) // 2
    zoom = (z, z) + (1,) * (x.ndim - 2)
    out = ndi.zoom(x[top : top + crop, top : top + crop], zoom, order=1)
    trim = (out.shape[0] - size) // 2
    return out[trim : trim + size, trim : trim + size]


def _motion(x, radius, sigma, degrees):
    """Correlates with the path drawn as a two-dimensional kernel."""
    width = 2 * int(np.ceil(radius)) + 1
    taps = np.exp(-(np.arange(width) ** 2) / (2 * sigma**2))
    taps /= taps.sum()
    kernel = np.zeros((2 * width + 1, 2 * width + 1))
    theta = np.deg2rad(degrees)
    for i, tap in enumerate(taps):
        down = int(np.ceil(i * np.sin(theta) - 0.5))
        right = int(np.ceil(i * np.cos(theta) - 0.5))
        kernel[width + down, width + right] += tap
    planes = x[..., None] if x.ndim == 2 else x
    out = np.stack(
        [ndi.correlate(planes[..., c], kernel, mode="nearest") for c in range(planes.shape[2])], -1
    )
    return np.floor(out.reshape(x.shape) + 0.5)


def _hsv(x, change):
    hsv = skimage.color.rgb2hsv(x)
    return skimage.color.hsv2rgb(change(hsv))


def gaussian_noise(rng, x, sigma):
    return x + rng.normal(0, sigma, x.shape)


def shot_noise(rng, x, photons):
    return rng.poisson(x * photons) / photons


def impulse_noise(rng, x, amount):
    out = x.copy()
    hit = rng.random(x.shape) < amount
    out[hit] = rng.integers(0, 2, hit.sum())
    return out


def speckle_noise(rng, x, sigma):
    return x + x * rng.normal(0, sigma, x.shape)


def defocus_blur(rng, x, c):
    radius, alias = c
    reach, ksize = (8, (3, 3)) if radius <= 8 else (radius, (5, 5))
    grid = np.arange(-reach, reach + 1)
    disk = (grid[:, None] ** 2 + grid[None] ** 2 <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(disk / disk.sum(), ksize, sigmaX=alias)
    return np.stack(
        [cv2.filter2D(np.ascontiguousarray(x[..., i]), -1, kernel) for i in range(3)], -1
    )


def glass_sweep(x, offsets, reach):
    """The sequential copies; `offsets` [H, W, 2] holds (dx, dy) of each pixel."""
    x = x.copy()
    for h in range(x.shape[0] - reach, reach, -1):
        for w in range(x.shape[1] - reach, reach, -1):
            dx, dy = offsets[h, w]
            x[h, w] = x[h + dy, w + dx]
    return x


def glass_blur(rng, x, c):
    sigma, reach, sweeps = c
    x = (255 * _blur(x, sigma)).astype(np.uint8)
    for _ in range(sweeps):
        x = glass_sweep(x, rng.integers(-reach, reach, (*x.shape[:2], 2)), reach)
    return _blur(x / 255, sigma)


def motion_blur(rng, x, c):
    return _motion(255 * x, *c, rng.uniform(-45, 45)) / 255


def zoom_blur(rng, x, c):
    x = x.astype(np.float32)
    factors = np.arange(1, *c)
    total = sum(_clipped_zoom(x, z) for z in factors)
    return (x + total) / (len(factors) + 1)


def gaussian_blur(rng, x, sigma):
    return _blur(x, sigma)


def snow(rng, x, c):
    mean, std, zoom, threshold, radius, sigma, keep = c
    layer = _clipped_zoom(rng.normal(mean, std, x.shape[:2]), zoom)
    layer[layer < threshold] = 0
    layer = (255 * np.clip(layer, 0, 1)).astype(np.uint8)
    layer = _motion(layer.astype(float), radius, sigma, rng.uniform(-135, -45))[..., None] / 255
    grey = (x @ [0.299, 0.587, 0.114])[..., None]
    x = keep * x + (1 - keep) * np.maximum(x, 1.5 * grey + 0.5)
    return x + layer + np.rot90(layer, 2)


def frost(rng, x, c, *, pictures, scale):
    picture = pictures[rng.integers(5)]
    if scale != 1:
        picture = cv2.resize(picture, (0, 0), fx=scale, fy=scale)
    row = rng.integers(0, picture.shape[0] - x.shape[0])
    col = rng.integers(0, picture.shape[1] - x.shape[1])
    piece = picture[row : row + x.shape[0], col : col + x.shape[1]]
    return c[0] * x + c[1] * piece / 255


def plasma(noise, decay):
    """Diamond-square, point by point; `noise` [n, n] in [-1, 1)."""
    n = len(noise)
    grid = np.zeros((n, n))
    step, wibble = n, 100.0
    while step >= 2:
        half = step // 2
        points = [(i, j) for i in range(0, n, step) for j in range(0, n, step)]
        for i, j in points:
            corners = [grid[(i + a) % n, (j + b) % n] for a in (0, step) for b in (0, step)]
            grid[i + half, j + half] = np.mean(corners) + wibble**2 * noise[i + half, j + half]
        for i, j in points:
            for down, right in ((0, half), (half, 0)):
                y, x = i + down, j + right
                around = [(y - half, x), (y + half, x), (y, x - half), (y, x + half)]
                mean = np.mean([grid[a % n, b % n] for a, b in around])
                grid[y, x] = mean + wibble**2 * noise[y, x]
        step, wibble = half, wibble / decay
    grid -= grid.min()
    return grid / grid.max()


def fog(rng, x, c):
    amount, decay = c
    n = 1 << (max(x.shape[:2]) - 1).bit_length()
    clouds = plasma(rng.uniform(-1, 1, (n, n)), decay)[: x.shape[0], : x.shape[1], None]
    return (x + amount * clouds) * x.max() / (x.max() + amount)


def brightness(rng, x, c):
    def change(hsv):
        hsv[..., 2] = np.clip(hsv[..., 2] + c, 0, 1)
        return hsv

    return _hsv(x, change)


def saturate(rng, x, c):
    def change(hsv):
        hsv[..., 1] = np.clip(hsv[..., 1] * c[0] + c[1], 0, 1)
        return hsv

    return _hsv(x, change)


def contrast(rng, x, c):
    mean = x.mean((0, 1), keepdims=True)
    return (x - mean) * c + mean


def elastic_transform(rng, x, c):
    alpha, sigma, reach = c
    x = x.astype(np.float32)
    size = x.shape[:2]
    centre, quarter = np.float32(size) // 2, min(size) // 3
    source = np.float32(
        [centre + quarter, [centre[0] + quarter, centre[1] - quarter], centre - quarter]
    )
    target = source + rng.uniform(-reach, reach, (3, 2)).astype(np.float32)
    matrix = cv2.getAffineTransform(source, target)
    x = cv2.warpAffine(x, matrix, size[::-1], borderMode=cv2.BORDER_REFLECT_101)
    field = [
        ndi.gaussian_filter(rng.uniform(-1, 1, size), sigma, mode="reflect", truncate=3) * alpha
        for _ in range(2)
    ]
    rows, cols = np.mgrid[: size[0], : size[1]]
    at = [rows + field[1], cols + field[0]]
    return np.stack(
        [ndi.map_coordinates(x[..., i], at, order=1, mode="reflect") for i in range(3)], -1
    )


def pixelate(rng, x, c):
    image = Image.fromarray(np.uint8(np.rint(255 * x)))
    small = (int(image.width * c), int(image.height * c))
    return np.asarray(image.resize(small, Image.BOX).resize(image.size, Image.BOX)) / 255


def jpeg_compression(rng, x, quality):
    buffer = io.BytesIO()
    Image.fromarray(np.uint8(np.rint(255 * x))).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)) / 255


def drop_relief(liquid):
    """Shading of water, uint8 [H, W] to float32 in [0, 1]."""
    distance = cv2.distanceTransform(255 - cv2.Canny(liquid, 50, 150), cv2.DIST_L2, 5)
    distance = cv2.blur(np.minimum(distance, 20), (3, 3)).astype(np.uint8)
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    relief = cv2.filter2D(cv2.equalizeHist(distance), cv2.CV_8U, emboss)
    shaded = liquid * cv2.blur(relief, (3, 3)).astype(np.float32)
    return shaded / max(shaded.max(), 1)


def spatter(rng, x, c):
    mean, std, sigma, threshold, strength, mud = c
    liquid = _blur(rng.normal(mean, std, x.shape[:2]), sigma)
    liquid[liquid < threshold] = 0
    if mud:
        m = _blur((liquid > threshold).astype(float), strength)[..., None]
        m[m < 0.8] = 0
        return x * (1 - m) + m * np.array([63, 42, 20]) / 255
    m = strength * drop_relief((255 * liquid).astype(np.uint8))[..., None]
    return x + m * np.array([175, 238, 238]) / 255


def corrupt(rng, image, name, constants, **options):
    """One uint8 image: scaled to [0, 1], corrupted, clipped, truncated to uint8."""
    out = globals()[name](rng, image / 255, constants, **options)
    if name in ("pixelate", "jpeg_compression"):
        return np.uint8(np.rint(255 * out))
    return (np.clip(out, 0, 1) * 255).astype(np.uint8)
