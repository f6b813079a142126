// A small WebGL viewer of closed surfaces: turn by drag, zoom by wheel, pinch or keys, tap to name.
"use strict";
function mountViewer(box, scene) {
  const canvas = box.querySelector("canvas");
  const gl = canvas.getContext("webgl", { antialias: true, alpha: false, preserveDrawingBuffer: true });
  if (!gl || !scene.objects.length) return;
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const shader = (type, source) => {
    const part = gl.createShader(type);
    gl.shaderSource(part, source);
    gl.compileShader(part);
    gl.attachShader(program, part);
  };
  const program = gl.createProgram();
  shader(gl.VERTEX_SHADER, `
    attribute vec3 place, normal; uniform mat3 turn; uniform vec3 size, look; uniform vec2 scale;
    uniform float depth; varying vec3 facing;
    void main() {
      vec3 seen = turn * ((place - 0.5) * size - look);
      facing = turn * normal;
      gl_Position = vec4(seen.xy * scale, -seen.z * depth, 1.0);
    }`);
  shader(gl.FRAGMENT_SHADER, `
    precision mediump float; varying vec3 facing; uniform vec3 color; uniform float opacity;
    void main() {
      vec3 n = normalize(facing);
      float light = 0.5 + 0.5 * max(dot(n, normalize(vec3(-0.35, 0.5, 0.8))), 0.0);
      float rim = 1.0 - max(n.z, 0.0);
      float alpha = opacity >= 1.0 ? 1.0 : opacity * (0.18 + 1.3 * rim * rim);
      gl_FragColor = vec4(color * light, min(alpha, 1.0));
    }`);
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return;
  gl.useProgram(program);
  const at = (name) => gl.getUniformLocation(program, name);
  const [uTurn, uSize, uLook, uScale, uDepth, uColor, uOpacity] =
    ["turn", "size", "look", "scale", "depth", "color", "opacity"].map(at);
  const aPlace = gl.getAttribLocation(program, "place");
  const aNormal = gl.getAttribLocation(program, "normal");
  const buffer = (target, data) => {
    const made = gl.createBuffer();
    gl.bindBuffer(target, made);
    gl.bufferData(target, data, gl.STATIC_DRAW);
    return made;
  };

  const parts = scene.objects.map((object) => {
    const place = new Uint16Array(bytes(object.vertices)), faces = new Uint16Array(bytes(object.faces));
    const normal = new Float32Array(place.length), low = [1, 1, 1], high = [0, 0, 0];
    const point = (i) => [0, 1, 2].map((k) => (place[3 * i + k] / 65535) * scene.size[k]);
    for (let f = 0; f < faces.length; f += 3) {
      const [a, b, c] = [point(faces[f]), point(faces[f + 1]), point(faces[f + 2])];
      const u = b.map((v, k) => v - a[k]), w = c.map((v, k) => v - a[k]);
      const n = [u[1] * w[2] - u[2] * w[1], u[2] * w[0] - u[0] * w[2], u[0] * w[1] - u[1] * w[0]];
      for (let j = 0; j < 3; j++) for (let k = 0; k < 3; k++) normal[3 * faces[f + j] + k] += n[k];
    }
    for (let i = 0; i < place.length; i++) {
      low[i % 3] = Math.min(low[i % 3], place[i] / 65535);
      high[i % 3] = Math.max(high[i % 3], place[i] / 65535);
    }
    const center = low.map((v, k) => ((v + high[k]) / 2 - 0.5) * scene.size[k]);
    const radius = Math.max(...low.map((v, k) => ((high[k] - v) / 2) * scene.size[k]));
    return { ...object, center, radius, count: faces.length,
      place: buffer(gl.ARRAY_BUFFER, place), normal: buffer(gl.ARRAY_BUFFER, normal),
      faces: buffer(gl.ELEMENT_ARRAY_BUFFER, faces) };
  });

  const reach = Math.hypot(...scene.size) / 2;
  const start = { across: -0.61, tilt: 0.49, zoom: 1.15 };
  const state = { ...start, opacity: 0.45 };
  const rotation = () => {
    const [c, s, d, t] = [Math.cos(state.across), Math.sin(state.across), Math.cos(state.tilt), Math.sin(state.tilt)];
    return [[c, 0, s], [t * s, d, -t * c], [-d * s, t, d * c]]; // rows: right, up, towards the viewer
  };
  const seen = (m, p) => m.map((row) => row[0] * p[0] + row[1] * p[1] + row[2] * p[2]);
  const pixels = () => (state.zoom * Math.min(canvas.width, canvas.height)) / (2 * reach); // per um
  let waiting = false;
  const redraw = () => {
    if (!waiting) { waiting = true; requestAnimationFrame(draw); }
  };
  function draw() {
    waiting = false;
    const dense = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.round(canvas.clientWidth * dense), height = Math.round(canvas.clientHeight * dense);
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    gl.viewport(0, 0, width, height);
    gl.clearColor(1, 1, 1, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.CULL_FACE);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    const m = rotation();
    gl.uniformMatrix3fv(uTurn, false, [0, 1, 2].flatMap((j) => m.map((row) => row[j])));
    gl.uniform3fv(uSize, scene.size);
    gl.uniform3fv(uLook, [0, 0, 0]);
    gl.uniform2f(uScale, (2 * pixels()) / width, (2 * pixels()) / height);
    gl.uniform1f(uDepth, 0.5 / reach);
    const show = (part, opacity) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, part.place);
      gl.enableVertexAttribArray(aPlace);
      gl.vertexAttribPointer(aPlace, 3, gl.UNSIGNED_SHORT, true, 0, 0);
      gl.bindBuffer(gl.ARRAY_BUFFER, part.normal);
      gl.enableVertexAttribArray(aNormal);
      gl.vertexAttribPointer(aNormal, 3, gl.FLOAT, false, 0, 0);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, part.faces);
      gl.uniform3fv(uColor, part.color);
      gl.uniform1f(uOpacity, opacity);
      gl.drawElements(gl.TRIANGLES, part.count, gl.UNSIGNED_SHORT, 0);
    };
    gl.disable(gl.BLEND);
    gl.depthMask(true);
    parts.filter((part) => part.kind === "void").forEach((part) => show(part, 1));
    const solid = state.opacity >= 1;
    if (!solid) { gl.enable(gl.BLEND); gl.depthMask(false); }
    parts.filter((part) => part.kind === "particle")
      .map((part) => [seen(m, part.center)[2], part]).sort((p, q) => p[0] - q[0])
      .forEach(([, part]) => state.opacity > 0 && show(part, state.opacity));
    gl.depthMask(true);
    drawBar(dense);
  }
  const bar = box.querySelector(".bar"), barText = box.querySelector(".bar-text");
  function drawBar(dense) {
    const perUm = pixels() / dense, span = canvas.clientWidth / perUm / 4;
    const power = 10 ** Math.floor(Math.log10(span));
    const length = Math.max(...[1, 2, 5].map((step) => step * power).filter((v) => v <= span));
    bar.style.width = `${length * perUm}px`;
    barText.textContent = `${length} µm`;
  }

  const say = box.querySelector(".picked"), hint = say.textContent;
  const zoomBy = (factor) => { state.zoom = Math.min(12, Math.max(0.5, state.zoom * factor)); redraw(); };
  function name(event) {
    const frame = canvas.getBoundingClientRect(), perUm = pixels() * (frame.width / canvas.width);
    const x = (event.clientX - frame.left - frame.width / 2) / perUm;
    const y = -(event.clientY - frame.top - frame.height / 2) / perUm;
    const m = rotation();
    const hit = parts.filter((part) => part.kind === "particle")
      .map((part) => [seen(m, part.center), part])
      .filter(([p, part]) => Math.hypot(p[0] - x, p[1] - y) < part.radius)
      .sort((p, q) => q[0][2] - p[0][2])[0];
    say.textContent = hit ? hit[1].text : hint;
  }
  const fingers = new Map();
  let moved = 0;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event);
    moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const dx = event.clientX - before.clientX, dy = event.clientY - before.clientY;
    moved += Math.abs(dx) + Math.abs(dy);
    if (fingers.size === 2) {
      const other = [...fingers.values()].find((f) => f.pointerId !== event.pointerId);
      const gap = (f) => Math.hypot(f.clientX - other.clientX, f.clientY - other.clientY);
      zoomBy(gap(event) / Math.max(gap(before), 1));
    } else {
      state.across += dx * 0.01;
      state.tilt = Math.min(1.57, Math.max(-1.57, state.tilt + dy * 0.01));
    }
    fingers.set(event.pointerId, event);
    redraw();
  });
  const lift = (event) => {
    if (fingers.delete(event.pointerId) && moved < 6 && event.type === "pointerup") name(event);
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("wheel", (event) => { // a page must scroll: zoom only after a click on it
    if (document.activeElement !== canvas) return;
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY * 0.0015));
  }, { passive: false });
  const keys = { ArrowLeft: ["across", -0.15], ArrowRight: ["across", 0.15], ArrowUp: ["tilt", -0.15], ArrowDown: ["tilt", 0.15] };
  canvas.addEventListener("keydown", (event) => {
    if (keys[event.key]) state[keys[event.key][0]] += keys[event.key][1];
    else if (event.key === "+" || event.key === "=") zoomBy(1.2);
    else if (event.key === "-") zoomBy(1 / 1.2);
    else return;
    event.preventDefault();
    redraw();
  });
  box.querySelector("input").addEventListener("input", (event) => {
    state.opacity = Number(event.target.value) / 100;
    redraw();
  });
  box.querySelector(".larger").addEventListener("click", () => zoomBy(1.25));
  box.querySelector(".smaller").addEventListener("click", () => zoomBy(0.8));
  box.querySelector(".home").addEventListener("click", () => { Object.assign(state, start); redraw(); });
  canvas.addEventListener("webglcontextlost", () => box.classList.remove("live"));
  new ResizeObserver(redraw).observe(canvas);
  box.classList.add("live");
  redraw();
}
