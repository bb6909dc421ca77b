// Lists the objects that an S3 event tells of.

export const handler = async (event, context) => {
  const objects = event.Records.map(({ s3 }) => ({
    bucket: s3.bucket.name,
    key: decodeURIComponent(s3.object.key.replaceAll("+", " ")),
    kilobytes: Math.ceil(s3.object.size / 1024),
  }));
  console.log(`${objects.length} object(s), request ${context.awsRequestId}`);
  return { objects, function: context.functionName };
};
