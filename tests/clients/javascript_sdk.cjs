// The JavaScript SDK, version 3, over what programs use it for. A failed assertion ends it with a status that is not 0.

const assert = require("node:assert/strict");
const { createHash } = require("node:crypto");
const { Readable } = require("node:stream");
const {
  CopyObjectCommand,
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  S3Client,
  paginateListObjectsV2,
  waitUntilObjectExists,
} = require("@aws-sdk/client-s3");
const { Upload } = require("@aws-sdk/lib-storage");
const { getSignedUrl } = require("@aws-sdk/s3-request-presigner");

const MIB = 1024 * 1024;
const Bucket = "javascript-sdk";
const s3 = new S3Client({ endpoint: process.argv[2], region: "us-east-1", forcePathStyle: true, maxAttempts: 1 });

/** Bytes that belong to a seed: a chain of digests. */
function content(seed, size) {
  const blocks = [createHash("sha512").update(seed).digest()];
  while (blocks.length * 64 < size) blocks.push(createHash("sha512").update(blocks.at(-1)).digest());
  return Buffer.concat(blocks).subarray(0, size);
}

async function read(Key, options = {}) {
  // Without a range the SDK verifies the checksum that the server shows.
  const answer = await s3.send(new GetObjectCommand({ Bucket, Key, ChecksumMode: "ENABLED", ...options }));
  return { answer, data: Buffer.from(await answer.Body.transformToByteArray()) };
}

function assertSame(found, expected, what) {
  assert.ok(found.equals(expected), `${what}: ${found.length} bytes that are not the ${expected.length} expected`);
}

async function smallObjects() {
  for (const size of [0, 1, 40_000]) {
    const Body = content("small", size);
    await s3.send(new PutObjectCommand({ Bucket, Key: `small/${size} +ü`, Body, Metadata: { colour: "green" } }));
    const { answer, data } = await read(`small/${size} +ü`);
    assertSame(data, Body, `${size} bytes`);
    assert.equal(answer.Metadata.colour, "green");
    assert.equal(answer.ETag, `"${createHash("md5").update(Body).digest("hex")}"`);
  }
  for (const ChecksumAlgorithm of ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]) {
    const Body = content(ChecksumAlgorithm, 100_000);
    await s3.send(new PutObjectCommand({ Bucket, Key: "checked", Body, ChecksumAlgorithm }));
    const { answer, data } = await read("checked");
    assertSame(data, Body, ChecksumAlgorithm);
    assert.ok(answer[`Checksum${ChecksumAlgorithm}`], `no ${ChecksumAlgorithm} in the answer`);
  }
  const { answer, data } = await read("small/40000 +ü", { Range: "bytes=100-299" });
  assertSame(data, content("small", 40_000).subarray(100, 300), "a range");
  assert.equal(answer.ContentRange, "bytes 100-299/40000");
  const CopySource = `${Bucket}/${encodeURIComponent("small/40000 +ü")}`;
  await s3.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource }));
  assertSame((await read("copy")).data, content("small", 40_000), "the copy");
  await waitUntilObjectExists({ client: s3, maxWaitTime: 10 }, { Bucket, Key: "copy" });
}

async function streams() {
  const large = content("large", 17 * MIB + 3);
  function* pieces() {
    for (let begin = 0; begin < large.length; begin += 100_000) yield large.subarray(begin, begin + 100_000);
  }
  // A body without a digest beforehand: chunked, with its checksum in a trailer.
  await s3.send(
    new PutObjectCommand({ Bucket, Key: "streamed", Body: Readable.from(pieces()), ContentLength: large.length }),
  );
  assertSame((await read("streamed")).data, large, "the streamed object");
  // A body of unknown length: in parts.
  const upload = new Upload({
    client: s3,
    params: { Bucket, Key: "parts", Body: Readable.from(pieces()) },
    partSize: 5 * MIB,
    queueSize: 3,
  });
  assert.match((await upload.done()).ETag, /-4"$/);
  const { data } = await read("parts");
  assertSame(data, large, "the object in parts");
  const part = await s3.send(new HeadObjectCommand({ Bucket, Key: "parts", PartNumber: 2 }));
  assert.deepEqual([part.ContentLength, part.PartsCount], [5 * MIB, 4]);
}

async function links() {
  const data = content("linked", 10_000);
  const put = await getSignedUrl(s3, new PutObjectCommand({ Bucket, Key: "linked" }), { expiresIn: 300 });
  assert.equal((await fetch(put, { method: "PUT", body: data })).status, 200);
  const get = await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: "linked" }), { expiresIn: 300 });
  assertSame(Buffer.from(await (await fetch(get)).arrayBuffer()), data, "the object behind the link");
  assert.equal((await fetch(get.replace("linked", "copy"))).status, 403);
}

async function conditions() {
  const command = (body) => new PutObjectCommand({ Bucket, Key: "once", Body: body, IfNoneMatch: "*" });
  const tries = await Promise.allSettled(["a", "b", "c", "d"].map((body) => s3.send(command(body))));
  assert.equal(tries.filter((result) => result.status === "fulfilled").length, 1, "one writer wins");
  for (const { reason } of tries.filter((result) => result.status === "rejected")) {
    assert.ok(["PreconditionFailed", "ConditionalRequestConflict"].includes(reason.name), reason.name);
  }
  await assert.rejects(read("nothing"), { name: "NoSuchKey" });
  await assert.rejects(s3.send(new HeadObjectCommand({ Bucket, Key: "nothing" })), { name: "NotFound" });
  await assert.rejects(s3.send(new DeleteBucketCommand({ Bucket })), { name: "BucketNotEmpty" });
}

async function listings() {
  for (let number = 0; number < 25; number++) {
    await s3.send(new PutObjectCommand({ Bucket, Key: `many/${number}`, Body: "x" }));
  }
  const keys = [];
  let pages = 0;
  for await (const page of paginateListObjectsV2({ client: s3, pageSize: 10 }, { Bucket })) {
    pages += 1;
    keys.push(...page.Contents.map((entry) => entry.Key));
  }
  assert.equal(keys.length, 25 + 3 + 6);
  assert.equal(pages, 4);
  const deletion = { Objects: keys.map((Key) => ({ Key })) };
  const answer = await s3.send(new DeleteObjectsCommand({ Bucket, Delete: deletion }));
  assert.equal(answer.Errors, undefined);
  assert.equal(answer.Deleted.length, keys.length);
}

async function main() {
  await s3.send(new CreateBucketCommand({ Bucket }));
  for (const step of [smallObjects, streams, links, conditions, listings]) await step();
  await s3.send(new DeleteBucketCommand({ Bucket }));
}

main();
